"""Any folder of labelled videos: ROOT/class/clip.ext. Files are read in place and never changed."""

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from common.errors import WorkError
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.manifests import count_failures
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, Fetched, make_id, to_row
from pipeline.sources.extensions import kinds_text, other_kind
from pipeline.sources.plan import ClassPlan, FilesPlan, Plan, size_text
from pipeline.sources.spec import SourceSpec
from pipeline.sources.walk import Found, list_files, printable_path

if TYPE_CHECKING:
    from pipeline.sources.context import Context

_WINDOW_COLUMNS = ("path", "start_s", "end_s")
_MAX_TIME_S = 1e7  # of a window; a hundred days


@dataclass(frozen=True)
class Entry:
    """An entry of kind `folder` under `sources`.

    Args:
        windows: CSV below `root` with the columns `path,start_s,end_s`, path relative to `root`: those files are longer
            videos of which only these seconds are the clip. A file may have several rows.
        follow_links: accept links to files outside `root`.
    """

    kind: Literal["folder"]
    root: str
    windows: str | None = None
    follow_links: bool = False


@dataclass(frozen=True)
class _Listing:
    """The content of the folder: clips to probe with their files, and rows of what is not probed."""

    clips: Mapping[str, tuple[Annotation, Found]]
    lost: Sequence[DownloadRow]
    others: Sequence[DownloadRow]  # files that are not videos


class Folder:
    """The source."""

    def __init__(self, name: str, entry: Entry, context: "Context") -> None:
        self.name, self._context = name, context
        self._root, self._windows, self._follow_links = Path(entry.root), entry.windows, entry.follow_links

    def plan(self) -> Plan:
        """Clips, files and classes; files that are not clips are in the text alone."""
        listing = self._list()
        classes = Counter(clip.labels[0] for clip, _ in listing.clips.values())
        sizes = {file.name: file.size for _, file in listing.clips.values()}
        total = sum(sizes.values())
        lines = [
            f"{len(listing.clips):,} clips in {len(sizes):,} files of {len(classes):,} classes, "
            f"{size_text(total)}, read in place"
        ]
        lost = count_failures(listing.lost)
        if listing.lost:
            counts = ", ".join(f"{count:,} {code}" for code, count in lost.items())
            lines.append(f"{len(listing.lost):,} more clips cannot be read ({counts})")
        return Plan(
            (*lines, *self._notes(listing)),
            (FilesPlan("read in place", needed=len(sizes), listed=len(sizes), bytes=total, kept_bytes=total),),
            annotated=len(listing.clips) + len(listing.lost),
            wanted=len(listing.clips),
            lost=lost,
            classes={label: ClassPlan(wanted=count, annotated=count) for label, count in classes.items()},
        )

    def download(self) -> list[DownloadRow]:
        """One row per file, or per window of it; files that are not videos fail as `not_video`."""
        listing = self._list()
        notes = self._notes(listing)
        if not listing.clips and not any(row.labels for row in listing.lost):
            seen = "".join(f"; {note}" for note in notes)
            raise WorkError(
                f"sources.{self.name}: no videos below {self._root}: expected {self._root}/CLASS/CLIP.EXT{seen}"
            )
        for note in notes:
            print(f"{self.name}: {note}")
        arrivals: dict[str, Arrival] = {}
        for clip_id, (_, file) in listing.clips.items():
            path = self._root / file.name
            arrivals[clip_id] = Arrival(path, str(path))
        probed = self._context.probe(arrivals, f"{self.name} probe", whole=False)
        found = [
            to_row(listing.clips[clip_id][0], probed[clip_id], rank=rank)
            for rank, clip_id in enumerate(sorted(arrivals))
        ]
        return [*found, *listing.lost, *listing.others]

    def _list(self) -> _Listing:
        """All files; a digest keeps ids unique where names differ in unsafe characters only."""
        windows = self._read_windows()
        files = self._list_files(windows)
        uses = Counter(_plain_id(self.name, file.name) for file in files if file.kind is None)
        clips: dict[str, tuple[Annotation, Found]] = {}
        lost: list[DownloadRow] = []
        others: list[DownloadRow] = []
        for file in files:
            if file.kind is not None:
                others.append(self._other_row(file.name, file.kind))
                continue
            clip_id = _plain_id(self.name, file.name)
            if uses[clip_id] > 1:
                clip_id = make_id(self.name, file.name)
            error = file.error
            if error is None and "/" not in file.name:
                detail = f"the file is in no class folder: move it to {self._root}/CLASS/{file.name}"
                error = ClipError(Failure.MISSING_LABEL, detail)
            for clip in _annotate(self._whole(clip_id, file.name), windows.get(file.name)):
                if error is None:
                    clips[clip.clip_id] = (clip, file)
                else:
                    lost.append(self._lost_row(clip, error))
        for name in windows.keys() - {file.name for file in files}:
            error = ClipError(Failure.NOT_FOUND, f"{self._windows} lists {name}, which does not exist")
            whole = self._whole(make_id(self.name, f"/{name}"), name)
            lost += [self._lost_row(clip, error) for clip in _annotate(whole, windows[name])]
        return _Listing(clips, lost, others)

    def _list_files(self, windows: Collection[str]) -> list[Found]:
        """Everything below the root but the list of windows; files in that list are videos by any name."""
        if not self._root.is_dir():
            raise WorkError(f"sources.{self.name}.root: {self._root} is not a folder")
        try:
            files = list_files(self._root, follow_links=self._follow_links, videos=windows)
        except OSError as error:
            raise WorkError(f"sources.{self.name}.root: {self._root} cannot be read: {error.strerror}") from None
        table = None if self._windows is None else Path(self._windows).as_posix()
        return [file for file in files if file.name != table]

    def _whole(self, clip_id: str, name: str) -> Annotation:
        """The annotation of a whole file; the folder at the top is its class."""
        folder, separator, _ = printable_path(name).partition("/")
        return Annotation(clip_id, self.name, printable_path(name), (folder,) if separator else ())

    def _lost_row(self, clip: Annotation, error: ClipError) -> DownloadRow:
        return to_row(clip, Fetched.failed(str(self._root / clip.video_id), error))

    def _other_row(self, name: str, kind: str) -> DownloadRow:
        """The row of a file that is not a video; it has no label, so that it counts for no class."""
        clip = Annotation(make_id(self.name, f"/{name}"), self.name, printable_path(name), ())
        return self._lost_row(clip, ClipError(Failure.NOT_VIDEO, f"not a video: {kind}"))

    def _notes(self, listing: _Listing) -> list[str]:
        """The files that are not videos and those at the top level, in one sentence each."""
        notes = []
        if listing.others:
            kinds = Counter(other_kind(row.video_id) or "" for row in listing.others)
            notes.append(f"{len(listing.others):,} files are not videos: {kinds_text(kinds)}")
        unlabelled = sum(row.error == Failure.MISSING_LABEL for row in listing.lost)
        if unlabelled:
            notes.append(f"{unlabelled:,} videos are in no class folder: move them to {self._root}/CLASS/")
        return notes

    def _read_windows(self) -> dict[str, list[tuple[float, float]]]:
        """Start and end of the windows of each file, by its path relative to the root."""
        if self._windows is None:
            return {}
        path = self._root / self._windows
        windows: dict[str, list[tuple[float, float]]] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                table = csv.DictReader(file, strict=True)
                missing = [name for name in _WINDOW_COLUMNS if name not in (table.fieldnames or ())]
                if missing:
                    raise WorkError(f"{path} lacks the columns {', '.join(missing)}")
                for line, row in enumerate(table, 2):
                    if not row["path"]:
                        raise WorkError(f"{path}, line {line}: path is empty")
                    windows.setdefault(row["path"], []).append(_read_window(row, f"{path}, line {line}"))
        except FileNotFoundError:
            raise WorkError(f"sources.{self.name}.windows: {path} does not exist") from None
        except OSError as error:
            raise WorkError(f"sources.{self.name}.windows: {path} cannot be read: {error.strerror}") from None
        except (csv.Error, UnicodeDecodeError) as error:
            raise WorkError(f"{path} is not CSV: {error}") from None
        return windows


def _plain_id(name: str, path: str) -> str:
    """`<name>-<class>-<stem>`; folders between class and file become part of the stem."""
    parts = PurePosixPath(path).parts
    inner = "-".join((*parts[1:-1], PurePosixPath(path).stem))
    return make_id(name, parts[0], inner)


def _annotate(whole: Annotation, windows: Iterable[tuple[float, float]] | None) -> Iterable[Annotation]:
    """The clips of one file: its windows, or all of it if it has none."""
    if windows is None:
        return (whole,)
    clips: dict[str, Annotation] = {}  # a window may be listed twice
    for start_s, end_s in windows:
        window_id = make_id(whole.clip_id, f"{round(start_s * 1000):07d}", f"{round(end_s * 1000):07d}")
        clips[window_id] = replace(whole, clip_id=window_id, start_s=start_s, end_s=end_s, precut=False)
    return clips.values()


def _read_window(row: Mapping[str, str | None], where: str) -> tuple[float, float]:
    """Start and end in seconds of one row of the list of windows."""
    start, end = row["start_s"], row["end_s"]
    try:
        start_s, end_s = float(start or ""), float(end or "")
    except ValueError:
        raise WorkError(f"{where}: start_s and end_s are {start!r} and {end!r}: must be numbers") from None
    if not 0 <= start_s < end_s <= _MAX_TIME_S:
        raise WorkError(
            f"{where}: the window from {start} to {end} s must start at 0 or later, end after its start, "
            f"and end within {_MAX_TIME_S:,.0f} s"
        )
    return start_s, end_s


SPEC = SourceSpec(
    kind="folder",
    entry=Entry,
    create=Folder,
    facts=SourceFacts(
        title="a folder",
        citation="a folder of labelled videos",
        terms="its owner's",
        hosted=False,
        annotation="A clip's label is the name of its folder.",
    ),
)
