"""Any folder of labelled videos: ROOT/class/clip.ext. Files are read in place and never changed."""

import csv
import mimetypes
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.errors import WorkError
from pipeline.params import Engine
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, Fetched, failed_row, make_id, probe_all, to_row

FACTS = SourceFacts(title="a folder", citation="a folder of labelled videos", terms="its owner's", hosted=False)


@dataclass(frozen=True)
class Entry:
    """An entry of kind `folder` under `sources`.

    `windows` may name a CSV with the columns `path,start_s,end_s` (path relative to the root): those files are longer
    videos of which only that part is the clip; a file may be named several times.
    """

    kind: Literal["folder"]
    root: str
    windows: str | None = None
    follow_links: bool = False


class Folder:
    """The source."""

    def __init__(self, name: str, entry: Entry, options: Engine) -> None:
        self.name, self._root, self._options = name, Path(entry.root), options
        self._windows, self._follow = entry.windows, entry.follow_links

    def plan(self) -> list[str]:
        """What `download` would look at, in lines to read."""
        files, others = self._list()
        classes = Counter(path.parent.name for path in files)
        size = sum(path.stat().st_size for path in files)
        left = f"; {others} other files are left alone" if others else ""
        return [f"{len(files):,} files in place in {len(classes)} classes, {size / 1e9:,.1f} GB{left}"]

    def download(self) -> list[DownloadRow]:
        """One row per file (or per window of it) in a class folder; files of known other kinds are left alone."""
        files, others = self._list()
        if not files:
            raise WorkError(f"sources.{self.name}: no videos below {self._root}: expected {self._root}/CLASS/CLIP.EXT")
        if others:
            print(f"{self.name}: {others} files that are no videos are left alone")
        clips = self._annotate(files)
        rows: list[DownloadRow] = []
        arrivals: dict[str, Arrival] = {}
        for clip_id, (clip, path) in clips.items():
            try:
                self._check_inside(path)
                arrivals[clip_id] = Arrival(path, str(path))
            except ClipError as error:
                rows.append(failed_row(clip, error))
        outcomes = probe_all(arrivals, self._options, f"{self.name} probe", whole=False)
        for rank, clip_id in enumerate(sorted(arrivals)):
            arrival = arrivals[clip_id]
            fetched = Fetched(arrival.url, outcomes[clip_id], arrival.path)
            rows.append(to_row(clips[clip_id][0], fetched, rank=rank))
        return rows

    def _list(self) -> tuple[list[Path], int]:
        if not self._root.is_dir():
            raise WorkError(f"sources.{self.name}: {self._root} is no folder")
        files, others = [], 0
        for path in sorted(self._root.glob("*/**/*")):
            if any(part.startswith(".") for part in path.relative_to(self._root).parts) or path.is_dir():
                continue
            kind = mimetypes.guess_type(path.name, strict=False)[0] or "video"
            if kind.startswith(("video", "application/octet-stream")):
                files.append(path)
            else:
                others += 1
        return files, others

    def _annotate(self, files: list[Path]) -> dict[str, tuple[Annotation, Path]]:
        """Clips by id. Names that become equal once they are made safe are told apart by a digest."""
        windows = self._read_windows()
        relatives = {path: path.relative_to(self._root) for path in files}
        stems = Counter(_plain_id(self.name, relative) for relative in relatives.values())
        clips: dict[str, tuple[Annotation, Path]] = {}
        for path, relative in relatives.items():
            ambiguous = stems[_plain_id(self.name, relative)] > 1
            clip_id = make_id(self.name, relative.as_posix()) if ambiguous else _plain_id(self.name, relative)
            whole = Annotation(clip_id, self.name, relative.as_posix(), (relative.parts[0],))
            for start_s, end_s in windows.get(relative.as_posix(), [(None, None)]):
                clip = whole
                if start_s is not None and end_s is not None:
                    window_id = make_id(clip_id, f"{round(start_s * 1000):07d}", f"{round(end_s * 1000):07d}")
                    clip = replace(whole, clip_id=window_id, start_s=start_s, end_s=end_s, precut=False)
                clips[clip.clip_id] = (clip, path)
        return clips

    def _read_windows(self) -> dict[str, list[tuple[float | None, float | None]]]:
        if self._windows is None:
            return {}
        path = self._root / self._windows
        windows: dict[str, list[tuple[float | None, float | None]]] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                for row in csv.DictReader(file, strict=True):
                    start_s, end_s = float(row["start_s"]), float(row["end_s"])
                    if not 0 <= start_s < end_s < float("inf"):
                        raise ValueError(f"the window {start_s} to {end_s} is empty")
                    windows.setdefault(row["path"], []).append((start_s, end_s))
        except FileNotFoundError:
            raise WorkError(f"sources.{self.name}.windows: {path} is not here") from None
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise WorkError(f"{path} is no list of path,start_s,end_s: {error}") from None
        return windows

    def _check_inside(self, path: Path) -> None:
        if self._follow:
            return
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise ClipError(
                Failure.UNSAFE_PATH, f"{path} is a link out of its folder; set follow_links: true to allow such links"
            )


def _plain_id(name: str, relative: Path) -> str:
    """`<name>-<class>-<stem>`; folders between class and file become part of the stem."""
    inner = "-".join((*relative.parts[1:-1], relative.stem))
    return make_id(name, relative.parts[0], inner)
