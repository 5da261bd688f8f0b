"""Agreement with ffmpeg over a folder of files of any kind: which files are read, and which frame each tick shows.

Each file passes `trim`, `resample` and the decoder of `resize`, in a child process with a time limit, and the ffmpeg
command line, whose filter `fps=10:round=up` selects the frames and whose area scaler resizes them.
"""

import argparse
import dataclasses
import hashlib
import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.measure import markdown_table
from pipeline import runner
from pipeline.params import Resample, Trim
from pipeline.records.failures import ClipError
from pipeline.records.rows import DownloadRow
from pipeline.resample import resample
from pipeline.runner import Job, Task
from pipeline.trim import trim
from pipeline.video.container import open_video
from pipeline.video.filmstrip import decode_ticks

_TICKS, _FPS, _SIZE = 100, 10, 64
_RESAMPLE = Resample(fps=_FPS, frames=_TICKS, min_frames=1, pad="loop")
_EQUAL = 4.0  # grey levels: mean absolute difference up to which two pictures count as the same frame

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """The settings that are the same for every file."""

    limit_s: float  # for each of the two readers
    cache: str | None  # folder of ffmpeg's pictures


@dataclass(frozen=True)
class Comparison:
    """One file, read by this project and by ffmpeg."""

    path: str
    container: str | None = None  # FFmpeg's names; None if this project could not read the file
    codec: str | None = None
    error: str | None = None  # failure code; "untyped" for an exception that is not a `ClipError`
    detail: str | None = None
    ticks: int = 0  # read by this project
    ffmpeg_ticks: int = 0
    equal: int = 0  # ticks with equal pictures in both
    worst: float = 0.0  # largest mean absolute difference of a tick, grey levels
    unequal: tuple[int, ...] = ()  # ticks that differ, or that only one of the two has

    @property
    def compared(self) -> int:
        """Ticks of a file that both read."""
        return max(self.ticks, self.ffmpeg_ticks) if self.ticks and self.ffmpeg_ticks else 0


def main() -> None:
    """Compare every regular file below a folder, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=20, help="seconds that each reader may take for one file")
    parser.add_argument("--cache", help="folder for ffmpeg's pictures, so that another run need not decode them again")
    parser.add_argument("-o", "--output", type=Path, help="a JSON line for each file")
    arguments = parser.parse_args()
    files = [path for path in sorted(arguments.folder.rglob("*")) if path.is_file()]
    settings = Settings(arguments.limit_s, arguments.cache)
    comparisons = compare_all(files, settings, arguments.jobs)
    if arguments.output:
        lines = (json.dumps(dataclasses.asdict(comparison)) + "\n" for comparison in comparisons)
        arguments.output.write_text("".join(lines))
    print_report(comparisons)


def compare_all(files: Sequence[Path], settings: Settings, jobs: int) -> list[Comparison]:
    """Compare each file, `jobs` at a time; in the order of `files`."""
    job = Job(compare, settings, 2 * settings.limit_s + 5)
    found: dict[str, Comparison] = {}
    answers = runner.run(job, [Task(str(path), str(path)) for path in files], workers=jobs)
    for answer in tqdm(answers, total=len(files), unit="file", disable=None):
        path, result = answer.task.row, answer.result
        if isinstance(result, ClipError):  # the process was killed, or died
            result = Comparison(path, error=result.code.value, detail=result.detail)
        found[path] = result
    return [found[str(path)] for path in files]


def compare(path: str, settings: Settings) -> Comparison:
    """Compare the ticks of one file as this project reads them with those by ffmpeg."""
    reference = _cached_ticks_by_ffmpeg(path, settings)
    theirs = len(reference)
    row = DownloadRow(clip_id="clip", source="own", video_id="clip", labels=(), path=path, bytes=0, sha256="")
    try:
        resampled = resample(trim(row, Trim(margin_s=1.0)), _RESAMPLE)
        with open_video(path) as opened:
            pictures = decode_ticks(
                *opened,
                resampled.timeline[: resampled.valid_frames],
                clock=resampled.clock,
                size=_SIZE,
                fit="stretch",
                skip=resampled.timeline_from == "packets",
            )
    except ClipError as error:
        return Comparison(path, error=error.code.value, detail=error.detail, ffmpeg_ticks=theirs)
    except Exception as error:  # noqa: BLE001 (an untyped exception is a finding, not an end of the run)
        return Comparison(path, error="untyped", detail=f"{type(error).__name__}: {error}", ffmpeg_ticks=theirs)
    shared = min(len(pictures), theirs)
    difference = np.abs(pictures[:shared].astype(int) - reference[:shared]).mean(axis=(1, 2, 3))
    unequal = [*np.flatnonzero(difference > _EQUAL).tolist(), *range(shared, max(len(pictures), theirs))]
    return Comparison(
        path,
        container=resampled.container,
        codec=resampled.codec,
        ticks=len(pictures),
        ffmpeg_ticks=theirs,
        equal=shared - int((difference > _EQUAL).sum()),
        worst=round(float(difference.max(initial=0)), 2),
        unequal=tuple(unequal) if theirs else (),
    )


def _cached_ticks_by_ffmpeg(path: str, settings: Settings) -> Pictures:
    if settings.cache is None:
        return ticks_by_ffmpeg(path, settings.limit_s)
    cached = Path(settings.cache, f"{hashlib.sha256(path.encode()).hexdigest()[:24]}.npy")
    if cached.exists():
        return np.asarray(np.load(cached), np.uint8)
    pictures = ticks_by_ffmpeg(path, settings.limit_s)
    cached.parent.mkdir(parents=True, exist_ok=True)
    np.save(cached, pictures)
    return pictures


def ticks_by_ffmpeg(path: str, limit_s: float) -> Pictures:
    """The ticks of a file's first 10 s by the ffmpeg command line, `(T, 64, 64, 3)`; none if it cannot read them."""
    matrix = f"in_color_matrix={_scaler_matrix(path)}"
    scale = f"scale={_SIZE}:{_SIZE}:flags=area+accurate_rnd+full_chroma_int+full_chroma_inp:{matrix}"
    select = f"{scale},format=rgb24,setpts=PTS-STARTPTS,fps={_FPS}:round=up"
    # One filter graph for the whole file: a new one at each change of the frame size would count ticks from zero again.
    command = [get_ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1", "-flags", "unaligned"]
    command += ["-reinit_filter", "0", "-i", f"file:{path}"]
    command += ["-map", "0:V:0", "-t", str(_TICKS / _FPS + 1), "-frames:v", str(_TICKS)]
    command += ["-vf", select, "-f", "rawvideo", "-y"]
    with tempfile.NamedTemporaryFile(suffix=".rgb") as raw:
        try:
            subprocess.run([*command, raw.name], capture_output=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return np.empty((0, _SIZE, _SIZE, 3), np.uint8)
        pixels = np.fromfile(raw.name, np.uint8)
    frame = _SIZE * _SIZE * 3
    return pixels[: len(pixels) // frame * frame].reshape(-1, _SIZE, _SIZE, 3)


def _scaler_matrix(path: str) -> str:
    """The colour matrix for ffmpeg's scaler, as players choose it: the scaler takes BT.601 where a stream names none."""
    try:
        with av.open(path, metadata_errors="ignore") as container:
            frame = next(container.decode(video=0))
            return "bt709" if int(frame.colorspace) == 2 and frame.height >= 720 else "auto"
    except Exception:  # noqa: BLE001 (the reader under test reports it)
        return "auto"


def print_report(comparisons: Sequence[Comparison]) -> None:
    """Print counts, the files that differ and those that only one of the two reads."""
    failures = Counter(item.error for item in comparisons if item.error)
    ok = sum(item.error is None for item in comparisons)
    both = [item for item in comparisons if item.compared]
    equal, compared = sum(item.equal for item in both), sum(item.compared for item in both)
    print(f"PyAV {av.__version__} (libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}),", end=" ")
    print(f"{Path(get_ffmpeg_exe()).name}")
    print(f"{len(comparisons):,} files: {ok:,} ok,", ", ".join(f"{n:,} {code}" for code, n in failures.most_common()))
    share = f" ({equal / compared:.3%})" if compared else ""
    print(f"{len(both):,} files read by both: {equal:,} of {compared:,} ticks equal{share}")
    differing = sorted((item for item in both if item.unequal), key=lambda item: -len(item.unequal))
    if differing:
        rows = [
            [
                item.path,
                f"{item.container}/{item.codec}",
                f"{len(item.unequal)} of {item.compared}",
                f"{item.worst:.1f}",
            ]
            for item in differing
        ]
        print(f"\n{len(differing)} files differ")
        print(markdown_table(["file", "format", "ticks that differ", "worst, grey levels"], rows))
    only_ffmpeg = [item for item in comparisons if item.error and item.ffmpeg_ticks]
    images = sum(item.ffmpeg_ticks == 1 for item in only_ffmpeg)
    print(f"\n{len(only_ffmpeg)} files read by ffmpeg only, {images} of them with a single tick (images); the others:")
    for item in only_ffmpeg:
        if item.ffmpeg_ticks > 1:
            print(f"  {item.path}: {item.ffmpeg_ticks} ticks; here {item.error}, {item.detail}")
    only_here = [item for item in comparisons if not item.error and not item.ffmpeg_ticks]
    print(f"\n{len(only_here)} files read here only")
    for item in only_here:
        print(f"  {item.path}: {item.ticks} ticks, {item.container}/{item.codec}")


if __name__ == "__main__":
    main()
