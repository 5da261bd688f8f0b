"""Reads mutated archives as the sources do, in a process of its own, and prints what became of them as JSON.

Arguments: a folder, a seed, and the numbers of the first mutant and of the one after the last.
"""

import contextlib
import io
import json
import os
import sys
import tarfile
import traceback
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from common import params
from common.errors import WorkError
from common.sections import SECTIONS
from pipeline.fetch.archives import TarArchive
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.site import Site
from pipeline.params import Download
from pipeline.records.failures import ClipError, Failure
from pipeline.sources import tinyvirat
from pipeline.sources.clips import Arrival, Fetched
from pipeline.sources.context import Context
from pipeline.sources.kinetics400.annotations import clip_id_of
from tests.conftest import REPO
from tests.pipeline.fetch.mutants import KINETICS, TINYVIRAT, Mutant, make_mutant

MEMBER_LIMIT = 256 << 20  # bytes; Python's own modules would read a sparse member of 16 GB into memory
RATIO_LIMIT = 100  # bytes written for each byte of an archive, as SECURITY.md says
URL = "https://data.example/train/a.tar.gz"
SITES = (Site("https://data.example/", "data"),)
SETTINGS = params.read(SECTIONS, REPO / "params.yaml").section("download", Download)


class Reader:
    """Reads one archive at a time in `root`, which has a folder to write to and files that must not change.

    Attributes:
        failures: mutants that ended in neither the truth nor a typed error, or that broke a bound.
        counts: by kind of archive, how many ended how.
    """

    def __init__(self, root: Path) -> None:
        self._project, self._watched = root / "a/b/project", root / "watched"
        for folder in (self._project, self._watched, root / "mirror/data/train", root / "mirror/tinyvirat"):
            folder.mkdir(parents=True)
        for folder in (root, root / "a", root / "a/b", self._project, self._watched):
            (folder / "canary.mp4").write_bytes(b"canary")
        os.chdir(self._project)
        self._root, self._raw = root, Path("data/raw")
        self._before = self._outside()
        self.failures: list[str] = []
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.peak = 0

    def check(self, seed: str) -> None:
        """Read the mutant of `seed` and count its end."""
        mutant = make_mutant(seed, str(self._watched))
        kind = mutant.change.partition(":")[0]
        _reset_peak()
        try:
            read = self._read_zip if kind == "zip" else self._read_tar
            end, clips = read(mutant)
            peak = _peak()  # before Python's own modules read the archive
            problem = self._problem(mutant, end, clips, peak)
        except Exception:  # noqa: BLE001
            end, peak, problem = "traceback", _peak(), traceback.format_exc(limit=-4)
        self.peak = max(self.peak, peak)
        self.counts[kind][end] += 1
        if problem is not None:
            self.failures.append(f"{seed} {mutant.change}: {problem}")
        self._clean()

    def _read_tar(self, mutant: Mutant) -> tuple[str, dict[str, tuple[str, Path]]]:
        path = self._root / "mirror/data/train/a.tar.gz"
        path.write_bytes(mutant.data)
        archive = TarArchive(
            Hosts(SITES, str(self._root / "mirror"), disk=Disk(self._raw, None)), URL, self._raw / "parts"
        )

        def target(member: str) -> Path | None:
            clip_id = clip_id_of(member)
            return self._raw / f"{clip_id}.mp4" if clip_id is not None else None

        end = "read"
        try:
            archive.extract(lambda: target)
        except ClipError as error:
            end = error.code.value
        files = {name: self._raw / f"{clip_id_of(name)}.mp4" for name in KINETICS}
        return end, {name: (name, path) for name, path in files.items() if path.exists()}

    def _read_zip(self, mutant: Mutant) -> tuple[str, dict[str, tuple[str, Path]]]:
        (self._root / "mirror/tinyvirat/TinyVIRAT.zip").write_bytes(mutant.data)
        context = _Context(
            Hosts(tinyvirat._sites(SETTINGS), str(self._root / "mirror"), disk=Disk(self._raw, None)),
            SETTINGS,
            None,
            {},
        )
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                rows = tinyvirat.TinyVirat("tinyvirat", tinyvirat.Entry("tinyvirat"), context).download()
            except WorkError:
                return "refused", {}
        errors = sorted({row.error for row in rows if row.error not in (None, Failure.NO_VIDEO_STREAM.value)})
        clips = {
            clip_id: (arrival.url.partition("#")[2], arrival.path) for clip_id, arrival in context.arrivals.items()
        }
        return "+".join(errors) or "read", clips

    def _problem(self, mutant: Mutant, end: str, clips: dict[str, tuple[str, Path]], peak: int) -> str | None:
        if self._outside() != self._before:
            return "a file outside the folder"
        files = [path for path in self._raw.rglob("*") if path.is_file()]
        odd = [path.name for path in files if path.name.startswith(".") or path.suffix not in (".mp4", ".json")]
        if odd:
            return f"left {odd}"
        size = sum(path.stat().st_size for path in files)
        if size > RATIO_LIMIT * len(mutant.data) + (17 << 20):
            return f"wrote {size:,} bytes out of {len(mutant.data):,}"
        if peak > 1 << 30:
            return f"took {peak >> 20:,} MB"
        if mutant.whole and (end != "read" or len(clips) != len(KINETICS)):
            return f"{end}, {len(clips)} clips: all have to be read"
        for member, path in clips.values():
            data = path.read_bytes()
            true = KINETICS.get(member) or TINYVIRAT.get(member.removeprefix("TinyVIRAT/videos/train/"))
            if data != true and (mutant.exact or data not in _library_reads(mutant, member)):
                return f"{member} is not what was packed"
        return None

    def _outside(self) -> dict[str, bytes]:
        """Every file but those of the folder to write to and the archives."""
        skipped = (self._root / "mirror", self._project / "data")
        return {
            str(path): path.read_bytes()
            for path in self._root.rglob("*")
            if path.is_file() and not path.is_relative_to(skipped[0]) and not path.is_relative_to(skipped[1])
        }

    def _clean(self) -> None:
        for path in list(self._raw.rglob("*")):
            if not path.is_dir():
                path.unlink()


class _Context(Context):
    """Records the files that arrive, and takes them for files that are no videos."""

    def probe(self, arrivals: Mapping[str, Arrival], label: str, *, whole: bool = True) -> dict[str, Fetched]:
        object.__setattr__(self, "arrivals", dict(arrivals))
        error = ClipError(Failure.NO_VIDEO_STREAM, "")
        return {clip_id: Fetched.failed(arrival.url, error) for clip_id, arrival in arrivals.items()}


def _library_reads(mutant: Mutant, member: str) -> list[bytes]:
    """The content of every member of this name, as `zipfile` or `tarfile` reads it."""
    found = []
    if mutant.change.startswith("zip"):
        with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(mutant.data)) as archive:
            found.append(archive.open(member).read(MEMBER_LIMIT))
        return found
    # Members before a damaged one count.
    with contextlib.suppress(Exception), tarfile.open(fileobj=io.BytesIO(mutant.data)) as archive:
        for info in archive:
            if clip_id_of(info.name) == clip_id_of(member) and info.isreg():
                content = archive.extractfile(info)
                found += [content.read(MEMBER_LIMIT)] if content is not None else []
    return found


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Most memory since `_reset_peak`, in bytes."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def main(root: str, seed: str, first: str, last: str) -> None:
    """Read the mutants and print the result."""
    reader = Reader(Path(root).resolve())
    for number in range(int(first), int(last)):
        reader.check(f"{seed}-{number}")
    print(json.dumps({"failures": reader.failures, "counts": reader.counts, "peak": reader.peak}))


if __name__ == "__main__":
    os.fsync = lambda _: None  # thousands of small files
    main(*sys.argv[1:])
