"""Batches of uint8 windows, (32, 16, 64, 64, 3), from shards: every storage of this loader compared with other tools, on one core.

The peers read the same windows from 64x64 mp4 files of the same clips, or the same shards by a stock webdataset pipeline. The
clips are those of the first training shard in the current folder, or drawn ones where there is none.

python -m benchmarks.loader [--rounds N]
"""

import argparse
import importlib.util
import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Generator, Tensor
from tqdm import tqdm

from benchmarks.drawn import write_dataset
from benchmarks.measure import (
    Target,
    UnsupportedError,
    describe_machine,
    markdown_table,
    pin_to_one_core,
    print_targets,
    side_by_side,
)
from pipeline.video.cut import ffmpeg_binary
from training.clips import MANIFEST, Clip, Clips
from training.data.order import VisitOrder
from training.data.windows import ClipWindows
from training.params import Storage

FRAMES, STRIDE, FPS = 16, 4, 10
BATCH, BATCHES = 32, 2  # windows of a batch, batches of a timing
VIDEOS = 64  # mp4 files; as many windows as in a timing
DRAWN = 200  # clips, where there are no shards
BUFFER = 200  # clips in the shuffle buffers
Method = Callable[[], object]


def main() -> None:
    """Print the table of times per window, and the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    pin_to_one_core()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if not MANIFEST.exists():
            os.chdir(folder)
            write_dataset(Path(), DRAWN)
        clips = Clips()
        first = clips.select(split="train")[0].shard
        rows = [row for row in clips.rows if row.shard == first]
        seconds = side_by_side(list_methods(clips, rows, Path(folder)), rounds=rounds, label="windows")
    seconds = {name: value / (BATCH * BATCHES) for name, value in seconds.items()}
    print(
        f"\n{describe_machine()}; {len(rows):,} clips of {first}; processor time on one core; medians of {rounds} rounds.\n"
    )
    print(_table(seconds), "\n")
    absent = [name for name in _PEERS if name not in seconds]
    if absent:
        print(f"not installed, or not loadable: {', '.join(absent)}\n")
    if "decord" in seconds:
        print_targets(_targets(seconds))


def list_methods(clips: Clips, rows: list[Clip], folder: Path) -> dict[str, Method]:
    """Functions that make `BATCHES` batches of windows, by name."""
    methods: dict[str, Method] = {}
    storages: tuple[tuple[str, Storage], ...] = (("resident", "memory"), ("by offset", "decode"), ("stream", "stream"))
    for name, storage in storages:
        data = ClipWindows(clips, rows, frames=FRAMES, stride=STRIDE, storage=storage)
        methods[name] = partial(_take, _batches(data, 1))
        if storage != "memory":
            other = ClipWindows(clips, rows, frames=FRAMES, stride=STRIDE, storage=storage)
            methods[f"{name}, 4 windows a decode"] = partial(_take, _batches(other, 4))
    methods["stock webdataset"] = partial(_take, _stock_webdataset(Path(rows[0].shard).resolve()))
    chosen = rows[:: max(1, len(rows) // VIDEOS)][:VIDEOS]
    videos = [
        (_write_video(folder / f"{row.clip_id}.mp4", clips.frames(row.clip_id)), row.valid_frames)
        for row in tqdm(chosen, desc="encoding", leave=False, disable=None)
    ]
    for name, read in ({"PyAV": pyav} | _PEERS).items():
        if name == "PyAV" or importlib.util.find_spec(name):
            methods[name] = partial(_take, _video_batches(read, videos))
    return methods


def _take(batches: Iterator[object]) -> None:
    for _ in range(BATCHES):
        next(batches)


def _batches(data: ClipWindows, windows: int) -> Iterator[Tensor]:
    """Batches in the order of training, with `windows` random windows of each clip."""
    order = VisitOrder([row.shard for row in data.rows], 0, BUFFER)
    generator = Generator().manual_seed(0)
    for first in itertools.count(0, BATCH // windows):
        visits = range(first, first + BATCH // windows)
        index = order.visits(first, len(visits)).repeat_interleave(windows)
        data.visit(order, visits)
        index, starts = data.readable(index, data.random_starts(index, generator))
        yield data.windows(index, starts)


def _stock_webdataset(shard: Path) -> Iterator[object]:
    """Batches by webdataset's own reading, shuffling and batching."""
    rng = np.random.default_rng(0)

    def window(sample: Mapping[str, bytes]) -> NDArray[np.uint8]:
        strip = cv2.imdecode(np.frombuffer(sample["jpg"], np.uint8), cv2.IMREAD_COLOR_RGB)
        assert strip is not None
        size = strip.shape[1]
        frames: NDArray[np.uint8] = strip.reshape(-1, size, size, 3).astype(np.uint8, copy=False)
        return frames[_ticks(rng, len(frames))]

    pipeline = webdataset.WebDataset(str(shard), shardshuffle=False).shuffle(BUFFER).map(window)
    while True:
        yield from pipeline.batched(BATCH, partial=False)


def _ticks(rng: np.random.Generator, valid: int) -> NDArray[np.int64]:
    """The ticks of a random window."""
    span = (FRAMES - 1) * STRIDE + 1
    return int(rng.integers(max(0, valid - span) + 1)) + STRIDE * np.arange(FRAMES)


def _write_video(path: Path, frames: NDArray[np.uint8]) -> Path:
    """Encode frames as H.264 by libx264's defaults."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS), "-i", "-"]
    command = [ffmpeg_binary(), "-v", "error", "-y", *source, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def _video_batches(
    read: Callable[[Path, NDArray[np.int64]], NDArray[np.uint8]], videos: list[tuple[Path, int]]
) -> Iterator[NDArray[np.uint8]]:
    """Batches of random windows of the videos in turn."""
    rng, turns = np.random.default_rng(0), itertools.cycle(videos)
    while True:
        batch = [read(path, _ticks(rng, valid)) for path, valid in itertools.islice(turns, BATCH)]
        yield np.stack(batch)


def pyav(path: Path, ticks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames decoded with PyAV up to the last of the window; those of the window as RGB."""
    wanted = set(ticks.tolist())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        decoded = itertools.islice(container.decode(stream), int(ticks[-1]) + 1)
        frames = [frame.to_ndarray(format="rgb24") for number, frame in enumerate(decoded) if number in wanted]
    return np.stack(frames).astype(np.uint8, copy=False)


def decord(path: Path, ticks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The frames of the window by decord's batched reader."""
    from decord import VideoReader, cpu

    frames: NDArray[np.uint8] = VideoReader(str(path), ctx=cpu(0), num_threads=1).get_batch(ticks.tolist()).asnumpy()
    return frames


def torchcodec(path: Path, ticks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The frames of the window by torchcodec."""
    from torchcodec.decoders import VideoDecoder

    try:
        decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate")
    except RuntimeError:  # FFmpeg's shared libraries are missing
        raise UnsupportedError from None
    frames: NDArray[np.uint8] = decoder.get_frames_at(ticks.tolist()).data.numpy()
    return frames


_PEERS: dict[str, Callable[[Path, NDArray[np.int64]], NDArray[np.uint8]]] = {"decord": decord, "torchcodec": torchcodec}


def _table(seconds: Mapping[str, float]) -> str:
    """Time per window, windows a second, and how many times slower than the stream each method is."""
    rows = [
        [name, f"{1000 * value:.3g} ms", f"{1 / value:,.0f}", f"{value / seconds['stream']:.3g}x"]
        for name, value in seconds.items()
    ]
    return markdown_table(["method", "a window", "windows a second", "time, to one window by stream"], rows)


def _targets(seconds: Mapping[str, float]) -> list[Target]:
    bounds = {"stream": 1.5, "stream, 4 windows a decode": 5.0, "resident": 100.0}
    return [
        Target(f"{name}, seconds a window", seconds[name], seconds["decord"], "decord", bound, faster=True)
        for name, bound in bounds.items()
    ]


if __name__ == "__main__":
    main()
