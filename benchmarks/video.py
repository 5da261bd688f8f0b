"""From a video file to 100 frames at 10 FPS and 64x64: this pipeline against the ways in use, on one core.

python -m benchmarks.video [--rounds N] [--only TEXT]
"""

import argparse
import contextlib
import importlib.util
import io
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.footage import videos
from benchmarks.measure import Target, UnableError, machine, pin, print_targets, side_by_side, table
from pipeline import runner
from pipeline.params import Engine, Resample, Resize, Trim
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.runner import per_clip
from pipeline.trim import trim
from pipeline.video.cut import ffmpeg_binary

TICKS, FPS, SIZE = 100, 10, 64
_TRIM = Trim(margin_s=1.0)
_RESAMPLE = Resample(fps=FPS, frames=TICKS, min_frames=10, pad="loop")
_RESIZE = Resize(size=SIZE, fit="stretch", format="jpg", quality=95, timeout_s=120)


def main() -> None:
    """Measure, print one table of seconds and ratios, and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="videos whose name holds this text")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    folder = Path(tempfile.gettempdir()) / "bench-video"
    every = {name: path.resolve() for name, path in videos(folder).items()}
    found = {name: path for name, path in every.items() if options.only in name}
    results = {}
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        machinery = [] if options.only else [_scaling(every["h264 340x256"], options.rounds), _overhead()]
        pin()
        for name, path in found.items():
            ways = methods(path)
            slow = {"three passes": ways.pop("three passes")}  # twenty decodes' time: two rounds settle it
            results[name] = side_by_side(ways, rounds=options.rounds, label=name)
            results[name] |= side_by_side(slow, rounds=2, label=name)
    print(f"{machine()}; processor time on one core, one decoder thread each; medians of {options.rounds} rounds.\n")
    print(_report(results), "\n")
    print_targets(_targets(results) + machinery)


def methods(path: Path) -> dict[str, Callable[[], object]]:
    """Everything that turns `path` into frames, by name; peers that are not installed are left out."""
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(path),
        "trim": lambda: trim(_row(path), _TRIM),
        "resample": lambda: resample(_row(path), _RESAMPLE),
    }
    row = _row(path) | trim(_row(path), _TRIM)
    row |= resample(row, _RESAMPLE)
    ways["resize"] = lambda: resize(row, _RESIZE)
    ways["ours"] = lambda: ours(path)
    ways["fused ffmpeg"] = lambda: fused_ffmpeg(path)
    ways["three passes"] = lambda: three_passes(path)
    ways["opencv"] = lambda: opencv(path)
    if importlib.util.find_spec("decord"):
        ways["decord"] = lambda: decord(path)
    if importlib.util.find_spec("torchcodec"):
        ways["torchcodec"] = lambda: torchcodec(path)
    return ways


def _row(path: Path) -> dict[str, Any]:
    return {
        "clip_id": "clip",
        "source": "bench",
        "path": str(path),
        "precut": True,
        "lead_in_s": 0.0,
        "duration_s": 60.0,
    }


def ours(path: Path) -> None:
    """The three stages one after the other, up to the filmstrip on disk."""
    row = _row(path) | trim(_row(path), _TRIM)
    row |= resample(row, _RESAMPLE)
    resize(row, _RESIZE)


def decode(path: Path) -> None:
    """Every frame of the file, and nothing done with it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def fused_ffmpeg(path: Path) -> None:
    """One process a clip: decode, choose, scale, raw frames to a pipe."""
    chain = f"fps={FPS}:round=up,scale={SIZE}:{SIZE}:flags=area"
    output = ["-frames:v", str(TICKS), "-vf", chain, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    _ffmpeg("-threads", "1", "-i", str(path), "-map", "0:v:0", *output)


def three_passes(path: Path) -> None:
    """Trim, resample and resize as three re-encodes with x264's defaults, a file after each."""
    encode = ["-an", "-threads", "1", "-c:v", "libx264"]
    _ffmpeg("-threads", "1", "-i", str(path), "-map", "0:v:0", "-t", "10", *encode, "pass1.mp4")
    _ffmpeg("-threads", "1", "-i", "pass1.mp4", "-vf", f"fps={FPS}", *encode, "pass2.mp4")
    _ffmpeg("-threads", "1", "-i", "pass2.mp4", "-vf", f"scale={SIZE}:{SIZE}:flags=area", *encode, "pass3.mp4")


def _ffmpeg(*arguments: str) -> None:
    command = [ffmpeg_binary(), "-v", "error", "-y", "-filter_threads", "1", *arguments]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def opencv(path: Path) -> None:
    """Read every frame in full size as BGR, resize each that falls on a tick: what most dataset scripts do."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames: list[np.ndarray] = []
    number = 0
    while len(frames) < TICKS:
        there, frame = capture.read()
        if not there:
            break
        if number * FPS >= len(frames) * rate:
            frames.append(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
        number += 1
    capture.release()
    if not frames:
        raise UnableError


def decord(path: Path) -> None:
    """decord, which scales in its own filter graph."""
    from decord import DECORDError, VideoReader, cpu

    try:
        reader = VideoReader(str(path), ctx=cpu(0), width=SIZE, height=SIZE, num_threads=1)
    except DECORDError:
        raise UnableError from None
    rate = reader.get_avg_fps()
    wanted = [number for tick in range(TICKS) if (number := round(tick * rate / FPS)) < len(reader)]
    reader.get_batch(wanted).asnumpy()


def torchcodec(path: Path) -> None:
    """torchcodec by timestamp, area-resized by torch."""
    import torch
    from torchcodec.decoders import VideoDecoder

    torch.set_num_threads(1)
    try:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
    except RuntimeError:  # FFmpeg's shared libraries are not on this machine, or do not know the format
        raise UnableError from None
    begin, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    times = [begin + tick / FPS for tick in range(TICKS) if begin + tick / FPS < end]
    frames = decoder.get_frames_played_at(times).data
    torch.nn.functional.interpolate(frames.float(), size=(SIZE, SIZE), mode="area").byte()


def _scaling(path: Path, rounds: int) -> Target:
    """Wall time of 240 clips' resize on one worker and on two, start of the workers included."""
    row = _row(path) | trim(_row(path), _TRIM)
    row |= resample(row, _RESAMPLE)
    tasks = [runner.Task(f"clip{number}", row | {"clip_id": f"clip{number}"}) for number in range(240)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in tqdm(range(max(1, rounds // 3)), desc="workers", leave=False, disable=None):
        for workers, times in seconds.items():
            start = time.perf_counter()
            for _ in runner.run(_resize, tasks, workers=workers):
                pass
            times.append(time.perf_counter() - start)
    one, two = (statistics.median(times) for times in seconds.values())
    return Target("240 clips on 2 workers, wall time", two, one, "1 worker", 1.9, faster=True)


def _resize(row: dict[str, Any]) -> dict[str, Any]:
    return resize(row, _RESIZE)


def _overhead() -> Target:
    """What a stage costs a clip beyond the clip's own work: reading, handing out, recording, writing the manifest."""
    from pipeline.records import manifests

    count = 5_000
    row = {"source": "bench", "status": "ok", "attempts": 1, "path": "clip.mp4", "lead_in_s": 0.0, "duration_s": 1.0}
    manifests.write("trim", [row | {"clip_id": f"c{n:06}", "key": f"{n:024x}", "bytes": 1} for n in range(count)])
    settings = Engine(kind="local", workers=0, timeout_s=120, address="auto", store=None)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        per_clip.run("resample", "trim", _nothing, version=0, params=_RESAMPLE, options=settings)
    milliseconds = (time.perf_counter() - start) / count * 1000
    return Target("a stage's own ms a clip, 5,000 clips", milliseconds, 2.0, "bound, ms", 1.0, faster=False)


def _nothing(row: dict[str, Any], _: Resample) -> dict[str, Any]:
    return {"path": row["path"], "timeline": list(range(TICKS)), "valid_frames": TICKS}


def _report(results: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for times in results.values() for name in times))
    rows = []
    for video, times in results.items():
        cells = [f"{times['decode'] * 1000:.0f} ms"]
        cells += [
            f"{times[name] / times['decode']:.2f}x" if name in times else "-" for name in names if name != "decode"
        ]
        rows.append([video, *cells])
    return table(["video", *names], rows)


def _targets(results: dict[str, dict[str, float]]) -> list[Target]:
    targets = []
    for video in (name for name in results if "h264 340x256" in name or "h264 1280x720" in name):
        times, small = results[video], "340" in video
        whole = f"trim + resample + resize, {video}"
        targets += [
            Target(f"resize, {video}", times["resize"], times["decode"], "full decode", 1.0, faster=False),
            Target(whole, times["ours"], times["fused ffmpeg"], "fused ffmpeg", 1.5 if small else 1.2, faster=True),
            Target(whole, times["ours"], times["three passes"], "three passes", 10, faster=True),
        ]
        if not small:
            targets.append(Target(whole, times["ours"], times["opencv"], "OpenCV loop", 1.8, faster=True))
    return targets


if __name__ == "__main__":
    main()
