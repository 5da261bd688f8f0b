"""Any folder of labelled videos: ROOT/class/clip.ext. Files are read in place and never changed."""

import csv
import mimetypes
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.errors import WorkError
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, failed_row, make_id, to_row
from pipeline.sources.spec import SourceSpec

if TYPE_CHECKING:
    from pipeline.sources.context import Context

_WINDOW_COLUMNS = ("path", "start_s", "end_s")


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


class Folder:
    """The source."""

    def __init__(self, name: str, entry: Entry, context: "Context") -> None:
        self.name, self._context = name, context
        self._root, self._windows, self._follow_links = Path(entry.root), entry.windows, entry.follow_links

    def plan(self) -> list[str]:
        """How many files of how many classes there are."""
        files, others = self._list_files()
        classes = Counter(path.parent.name for path in files)
        size = sum(path.stat().st_size for path in files)
        skipped = f"; {others} other files skipped" if others else ""
        return [f"{len(files):,} files in place in {len(classes)} classes, {size / 1e9:,.1f} GB{skipped}"]

    def download(self) -> list[DownloadRow]:
        """One row per file, or per window of it, below a class folder; files of other types are skipped."""
        files, others = self._list_files()
        if not files:
            raise WorkError(f"sources.{self.name}: no videos below {self._root}: expected {self._root}/CLASS/CLIP.EXT")
        if others:
            print(f"{self.name}: {others} files skipped: not videos")
        clips = self._annotate(files)
        rows: list[DownloadRow] = []
        arrivals: dict[str, Arrival] = {}
        for clip_id, (clip, path) in clips.items():
            try:
                self._check_inside(path)
                arrivals[clip_id] = Arrival(path, str(path))
            except ClipError as error:
                rows.append(failed_row(clip, error))
        probed = self._context.probe(arrivals, f"{self.name} probe", whole=False)
        for rank, clip_id in enumerate(sorted(arrivals)):
            rows.append(to_row(clips[clip_id][0], probed[clip_id], rank=rank))
        return rows

    def _list_files(self) -> tuple[list[Path], int]:
        """Files that may be videos, and the number of other files; hidden ones count as neither."""
        if not self._root.is_dir():
            raise WorkError(f"sources.{self.name}.root: {self._root} is not a folder")
        files, others = [], 0
        for path in sorted(self._root.glob("*/**/*")):
            if any(part.startswith(".") for part in path.relative_to(self._root).parts) or path.is_dir():
                continue
            mime_type = mimetypes.guess_type(path.name, strict=False)[0] or "video"
            if mime_type.startswith(("video", "application/octet-stream")):
                files.append(path)
            else:
                others += 1
        return files, others

    def _annotate(self, files: list[Path]) -> dict[str, tuple[Annotation, Path]]:
        """Clips and their files by clip_id; a digest keeps ids unique where names differ in unsafe characters only."""
        windows = self._read_windows()
        relatives = {path: path.relative_to(self._root) for path in files}
        uses = Counter(_plain_id(self.name, relative) for relative in relatives.values())
        clips: dict[str, tuple[Annotation, Path]] = {}
        for path, relative in relatives.items():
            clip_id = _plain_id(self.name, relative)
            if uses[clip_id] > 1:
                clip_id = make_id(self.name, relative.as_posix())
            whole = Annotation(clip_id, self.name, relative.as_posix(), (relative.parts[0],))
            if relative.as_posix() not in windows:
                clips[clip_id] = (whole, path)
            for start_s, end_s in windows.get(relative.as_posix(), ()):
                window_id = make_id(clip_id, f"{round(start_s * 1000):07d}", f"{round(end_s * 1000):07d}")
                clip = replace(whole, clip_id=window_id, start_s=start_s, end_s=end_s, precut=False)
                clips[window_id] = (clip, path)
        return clips

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
                    windows.setdefault(row["path"], []).append(_read_window(row, f"{path}, line {line}"))
        except FileNotFoundError:
            raise WorkError(f"sources.{self.name}.windows: {path} does not exist") from None
        except (csv.Error, UnicodeDecodeError) as error:
            raise WorkError(f"{path} is not CSV: {error}") from None
        return windows

    def _check_inside(self, path: Path) -> None:
        if not self._follow_links and not path.resolve().is_relative_to(self._root.resolve()):
            raise ClipError(
                Failure.UNSAFE_PATH, f"{path} is a link out of its folder; set follow_links: true to allow such links"
            )


def _plain_id(name: str, relative: Path) -> str:
    """`<name>-<class>-<stem>`; folders between class and file become part of the stem."""
    inner = "-".join((*relative.parts[1:-1], relative.stem))
    return make_id(name, relative.parts[0], inner)


def _read_window(row: Mapping[str, str | None], where: str) -> tuple[float, float]:
    """Start and end in seconds of one row of the list of windows."""
    start, end = row["start_s"], row["end_s"]
    try:
        start_s, end_s = float(start or ""), float(end or "")
    except ValueError:
        raise WorkError(f"{where}: start_s and end_s are {start!r} and {end!r}: must be numbers") from None
    if not 0 <= start_s < end_s < float("inf"):
        raise WorkError(f"{where}: the window from {start} to {end} s must start at 0 or later and end after its start")
    return start_s, end_s


SPEC = SourceSpec(
    kind="folder",
    entry=Entry,
    create=Folder,
    facts=SourceFacts(title="a folder", citation="a folder of labelled videos", terms="its owner's", hosted=False),
)
