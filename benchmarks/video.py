"""From a video file to 100 frames of 64x64 at 10 FPS: this pipeline compared with other tools, on one core.

python -m benchmarks.video [--rounds N] [--only TEXT]
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import io
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.footage import prepare_videos
from benchmarks.measure import (
    Target,
    UnsupportedError,
    describe_machine,
    markdown_table,
    pin_to_one_core,
    print_targets,
    side_by_side,
)
from pipeline import runner
from pipeline.params import Engine, Resample, Resize, Trim
from pipeline.records import manifests
from pipeline.records.rows import DownloadRow, ResampleRow, TrimRow
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.runner.per_clip import PerClipStage
from pipeline.trim import trim
from pipeline.video.cut import ffmpeg_binary

TICKS, FPS, SIZE = 100, 10, 64
SCALED_CLIPS, OVERHEAD_CLIPS = 240, 5_000
_TRIM = Trim(margin_s=1.0)
_RESAMPLE = Resample(fps=FPS, frames=TICKS, min_frames=10, pad="loop")
_RESIZE = Resize(size=SIZE, fit="stretch", format="jpg", quality=95, timeout_s=120)


def main() -> None:
    """Measure; print a table of ratios to a full decode, and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="measure only videos whose name contains TEXT", metavar="TEXT")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    cache = Path(tempfile.gettempdir()) / "bench-video"
    videos = {name: path.resolve() for name, path in prepare_videos(cache).items()}
    results = {}
    runner_targets = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if not arguments.only:
            runner_targets = [_measure_scaling(videos["h264 340x256"], arguments.rounds), _measure_overhead()]
        pin_to_one_core()
        for name, path in videos.items():
            if arguments.only in name:
                methods = list_methods(path)
                slow = {"three passes": methods.pop("three passes")}  # takes as long as twenty decodes
                results[name] = side_by_side(methods, rounds=arguments.rounds, label=name)
                results[name] |= side_by_side(slow, rounds=2, label=name)
    print(
        f"{describe_machine()}; processor time on one core, one decoder thread; medians of {arguments.rounds} rounds.\n"
    )
    print(_ratio_table(results), "\n")
    absent = [name for name in _PEERS if not importlib.util.find_spec(name)]
    if absent:
        print(f"not installed: {', '.join(absent)}\n")
    print_targets(_video_targets(results) + runner_targets)


def list_methods(path: Path) -> dict[str, Callable[[], object]]:
    """Functions that process `path`, by name: stages of this pipeline, and other tools where they are installed."""
    trimmed = trim(_downloaded(path), _TRIM)
    resampled = resample(trimmed, _RESAMPLE)
    methods: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(path),
        "trim": lambda: trim(_downloaded(path), _TRIM),
        "resample": lambda: resample(trimmed, _RESAMPLE),
        "resize": lambda: resize(resampled, _RESIZE),
        "ours": lambda: trim_resample_resize(path),
        "fused ffmpeg": lambda: fused_ffmpeg(path),
        "three passes": lambda: three_passes(path),
        "opencv": lambda: opencv(path),
    }
    return methods | {name: partial(read, path) for name, read in _PEERS.items() if importlib.util.find_spec(name)}


def _downloaded(path: Path) -> DownloadRow:
    return DownloadRow(
        clip_id="clip", source="bench", video_id="video", labels=(), path=str(path), bytes=0, sha256="", precut=True
    )


def trim_resample_resize(path: Path) -> None:
    """The three stages of this pipeline in turn, up to the filmstrip on disk."""
    resize(resample(trim(_downloaded(path), _TRIM), _RESAMPLE), _RESIZE)


def decode(path: Path) -> None:
    """Decode all frames of the file with PyAV."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def fused_ffmpeg(path: Path) -> None:
    """Decode, select and scale in one ffmpeg process; write raw frames to a pipe."""
    filters = f"fps={FPS}:round=up,scale={SIZE}:{SIZE}:flags=area"
    output = ["-frames:v", str(TICKS), "-vf", filters, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    _run_ffmpeg("-threads", "1", "-i", str(path), "-map", "0:v:0", *output)


def three_passes(path: Path) -> None:
    """Trim, resample and resize by three re-encodes to files, with x264's defaults."""
    encode = ["-an", "-threads", "1", "-c:v", "libx264"]
    _run_ffmpeg("-threads", "1", "-i", str(path), "-map", "0:v:0", "-t", "10", *encode, "pass1.mp4")
    _run_ffmpeg("-threads", "1", "-i", "pass1.mp4", "-vf", f"fps={FPS}", *encode, "pass2.mp4")
    _run_ffmpeg("-threads", "1", "-i", "pass2.mp4", "-vf", f"scale={SIZE}:{SIZE}:flags=area", *encode, "pass3.mp4")


def _run_ffmpeg(*arguments: str) -> None:
    command = [ffmpeg_binary(), "-v", "error", "-y", "-filter_threads", "1", *arguments]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def opencv(path: Path) -> None:
    """Read all frames as full-size BGR with OpenCV and resize those at ticks, as most dataset scripts do."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    frames: list[NDArray[np.uint8]] = []
    number = 0
    while len(frames) < TICKS:
        found, frame = capture.read()
        if not found:
            break
        if number * FPS >= len(frames) * rate:
            frames.append(np.asarray(cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8))
        number += 1
    capture.release()
    if not frames:
        raise UnsupportedError


def decord(path: Path) -> None:
    """Read the frames at ticks with decord, which scales in its own filter graph."""
    from decord import DECORDError, VideoReader, cpu

    try:
        reader = VideoReader(str(path), ctx=cpu(0), width=SIZE, height=SIZE, num_threads=1)
    except DECORDError:
        raise UnsupportedError from None
    rate = reader.get_avg_fps()
    wanted = [number for tick in range(TICKS) if (number := round(tick * rate / FPS)) < len(reader)]
    reader.get_batch(wanted).asnumpy()


def torchcodec(path: Path) -> None:
    """Decode ten frames a second with torchcodec, which resamples and scales while it decodes."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    scale = [Resize((SIZE, SIZE))]
    try:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate", transforms=scale)
    except RuntimeError:  # FFmpeg's shared libraries are missing, or do not support the format
        raise UnsupportedError from None
    begin, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    decoder.get_frames_played_in_range(begin, min(end, begin + TICKS / FPS), fps=FPS)


_PEERS = {"decord": decord, "torchcodec": torchcodec}


def _measure_scaling(path: Path, rounds: int) -> Target:
    """Wall time to resize many clips with one worker and with two, including the start of the workers."""
    row = resample(trim(_downloaded(path), _TRIM), _RESAMPLE)
    names = [f"clip{number}" for number in range(SCALED_CLIPS)]
    tasks = [runner.Task(name, dataclasses.replace(row, clip_id=name)) for name in names]
    job = runner.Job(resize, _RESIZE, timeout_s=120)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in tqdm(range(max(1, rounds // 3)), desc="workers", leave=False, disable=None):
        for workers, times in seconds.items():
            start = time.perf_counter()
            for _ in runner.run(job, tasks, workers=workers):
                pass
            times.append(time.perf_counter() - start)
    one, two = (statistics.median(times) for times in seconds.values())
    return Target(f"{SCALED_CLIPS} clips on 2 workers, wall time", two, one, "1 worker", 1.9, faster=True)


def _measure_overhead() -> Target:
    """Wall time per clip of a stage that does no work: reading, scheduling, recording and writing the manifest."""
    rows = [
        TrimRow(
            clip_id=f"c{number:06}",
            source="bench",
            key=f"{number:024x}",
            path="clip.mp4",
            lead_in_s=0.0,
            duration_s=1.0,
            bytes=1,
        )
        for number in range(OVERHEAD_CLIPS)
    ]
    manifests.write(TrimRow, rows)
    engine = Engine(kind="local", workers=0, timeout_s=120, address="auto", store=None)
    stage = PerClipStage(_no_work, reads=TrimRow, writes=ResampleRow, version=0)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        stage.run(_RESAMPLE, engine)
    milliseconds = (time.perf_counter() - start) / OVERHEAD_CLIPS * 1000
    name = f"overhead of a stage, ms per clip, {OVERHEAD_CLIPS:,} clips"
    return Target(name, milliseconds, 2.0, "limit, ms", 1.0, faster=False)


def _no_work(row: TrimRow, _: Resample) -> ResampleRow:
    return ResampleRow(
        clip_id=row.clip_id,
        source=row.source,
        path=row.path,
        container="",
        codec="",
        width=0,
        height=0,
        rotation=0,
        avg_fps=0.0,
        source_frames=0,
        time_base="1/10",
        timeline=tuple(range(TICKS)),
        timeline_from="packets",
        clock="presentation",
        valid_frames=TICKS,
    )


def _ratio_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The time of a full decode of each video, and the other methods' times as multiples of it."""
    names = list(dict.fromkeys(name for times in results.values() for name in times if name != "decode"))
    rows = []
    for video, times in results.items():
        ratios = [f"{times[name] / times['decode']:.2f}x" if name in times else "-" for name in names]
        rows.append([video, f"{times['decode'] * 1000:.0f} ms", *ratios])
    return markdown_table(["video", "decode", *names], rows)


def _video_targets(results: Mapping[str, Mapping[str, float]]) -> list[Target]:
    targets = []
    for video in (name for name in results if "h264 340x256" in name or "h264 1280x720" in name):
        times, small = results[video], "340" in video
        stages = f"trim + resample + resize, {video}"
        targets += [
            Target(f"resize, {video}", times["resize"], times["decode"], "full decode", 1.0, faster=False),
            Target(stages, times["ours"], times["fused ffmpeg"], "fused ffmpeg", 1.5 if small else 1.2, faster=True),
            Target(stages, times["ours"], times["three passes"], "three passes", 10, faster=True),
        ]
        if not small:
            targets.append(Target(stages, times["ours"], times["opencv"], "OpenCV loop", 1.8, faster=True))
    return targets


if __name__ == "__main__":
    main()
