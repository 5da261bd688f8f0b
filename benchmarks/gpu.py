"""A GPU checked against the CPU, and then measured: one command for a machine with torch, timm and the training packages.

    python -m benchmarks.gpu                       # within ten minutes; clips are drawn, no dataset is needed
    python -m benchmarks.gpu --device cpu --quick  # the same code on tiny models, in about a minute

Prints a table for docs/benchmarks.md; a row that does not fit into the time, or that fails, says so. Exits with 1 if a check
fails.
"""

import argparse
import contextlib
import gc
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Generator

from benchmarks import models
from benchmarks.gpu_checks import run_checks
from benchmarks.measure import describe_machine, markdown_table
from benchmarks.train import CASE, load_loop, project
from common.errors import WorkError
from training.clips import Clips
from training.data.augment import Augment, AugmentConfig
from training.data.frames import load_frames
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler
from training.engine.loop import Draw
from training.engine.objective import Objective
from training.engine.throughput import count_flops
from training.models import MAE, create_model, model_config
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import TokenSplit
from training.params import Compile

EPOCH, ALL_CLIPS = 18_406, 24_927  # clips of the training classes, and of the dataset
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Model:
    """A model to train, the clips of a step, and its target on one H100."""

    name: str
    preset: str
    overrides: dict[str, Any]
    batch: int
    epoch_s: float | None = None
    clips_per_s: float | None = None


_VIT_S = {"dim": 384, "depth": 12, "heads": 6, "decoder_dim": 192, "decoder_depth": 4, "decoder_heads": 3}
MODELS = (
    Model("small 2x8x8", "small_2x8x8", {}, 1024, epoch_s=0.35),
    Model("ViT-S 2x8x8", "small_2x8x8", _VIT_S, 1024, epoch_s=1.5),
    Model("paper_small", "paper_small", {}, 512, epoch_s=3.0),
    Model("VideoMAE-B, 224", "videomae_base", {}, 128, clips_per_s=1200),
)
_TINY = {"dim": 48, "depth": 1, "heads": 4, "decoder_dim": 48, "decoder_depth": 1, "decoder_heads": 4}


class OutOfTime(BaseException):
    """A row has taken longer than it may. Not an Exception, so that what falls back after errors passes it on."""


class Unmeasurable(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass
class Table:
    """The rows measured so far, and the time that is left for more.

    Args:
        seconds: from now on, for all rows.
        judge: compare with the targets, which are those of one H100.
    """

    seconds: float
    judge: bool
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def measure(self, what: str, needs_s: float, measure: Callable[[], list[list[str]]]) -> None:
        """Add the rows that `measure` returns, or one that says why there are none.

        Args:
            what: name of the row.
            needs_s: time that must be left; three times as much may be used.
            measure: gives rows of what, measured, target and verdict.
        """
        left = self._end - time.monotonic()
        if left < needs_s:
            self.rows.append([what, f"{NOT_MEASURED}: {max(0, left):.0f} s were left", "", ""])
            return
        print(f"... {what}", file=sys.stderr, flush=True)
        try:
            with time_limit(min(left, 3 * needs_s)):
                measured = measure()
            self.rows += [[*row[:3], row[3] if self.judge else ""] for row in measured]
        except OutOfTime:
            self.rows.append([what, f"{NOT_MEASURED}: longer than {min(left, 3 * needs_s):.0f} s", "", ""])
        except Exception as error:  # noqa: BLE001 (whatever fails, the other rows are measured)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self.rows.append([what, f"{NOT_MEASURED}: {reason}", "", ""])
        gc.collect()
        torch.compiler.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the main thread after some seconds."""

    def stop(_: int, __: FrameType | None) -> None:
        raise OutOfTime

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models and few clips: a test of this program")
    parser.add_argument("--seconds", type=float, default=570, help="for everything; the checks come first")
    arguments = parser.parse_args()
    device, quick = torch.device(arguments.device), bool(arguments.quick)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU; --device cpu --quick runs the same code without one")
    started = time.monotonic()
    print(f"{describe_machine()}; {describe_device(device)}")
    if quick:
        print("quick: tiny models, few clips; the numbers mean nothing")
    unique, copies = (32, 2) if quick else (256, -(-ALL_CLIPS // 256))
    with project(unique, copies):
        failed = check(device, quick=quick)
        judge = not quick and device.type == "cuda" and "H100" in torch.cuda.get_device_name(device)
        table = Table(arguments.seconds - (time.monotonic() - started), judge)
        measure(table, device, quick=quick)
    print("\n" + markdown_table(["what", "measured", "target, one H100", ""], table.rows))
    print(f"\n{time.monotonic() - started:.0f} s in all; {failed} checks failed")
    sys.exit(1 if failed else 0)


def describe_device(device: torch.device) -> str:
    """The device, its driver and the versions of torch and CUDA, in one line."""
    if device.type != "cuda":
        return f"CPU, torch {torch.__version__}, Python {platform.python_version()}"
    properties = torch.cuda.get_device_properties(device)
    driver = "unknown"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    return f"{properties.name}, {memory}, driver {driver}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def check(device: torch.device, *, quick: bool) -> int:
    """Print the checks; returns how many failed."""
    rows, failed = [], 0
    for item in run_checks(device, quick=quick):
        rows.append([item.name, f"{item.error:.1e}", f"{item.limit:.0e}", "ok" if item.passed else "FAILED"])
        failed += not item.passed
    print("\n" + markdown_table([f"{device.type} against the CPU", "error", "limit", ""], rows), flush=True)
    return failed


def measure(table: Table, device: torch.device, *, quick: bool) -> None:
    """Measure all rows."""
    needs = partial(_needs, quick=quick)
    for model in MODELS:
        small = replace(model, overrides=_TINY | {"image_size": 64}, batch=4) if quick else model
        table.measure(f"{model.name}, loop", needs(60), partial(measure_loop, small, device, "auto", quick))
    table.measure("pre-training step", needs(90), partial(measure_steps, device, quick=quick))
    table.measure("shards to the device", needs(30), partial(measure_shards, device, quick=quick))
    table.measure("resident batches", needs(10), partial(measure_batches, device, quick=quick))
    first = replace(MODELS[0], overrides=_TINY, batch=4) if quick else MODELS[0]
    table.measure(f"{first.name}, eager loop", needs(20), partial(measure_loop, first, device, "never", quick))
    table.measure("augmentation", needs(20), partial(measure_augmentation, device, quick=quick))


def _needs(seconds: float, *, quick: bool) -> float:
    return 60 if quick else seconds


def measure_loop(model: Model, device: torch.device, compile: Compile, quick: bool) -> list[list[str]]:
    """An epoch of the dataset by the training loop, from the median rate of its log; half the batch where it does not fit."""
    batch = model.batch
    while True:
        network = create_model(model.preset, **model.overrides)
        assert isinstance(network, MAE)
        gigaflops = _clip_flops(network) / 1e9
        loop = load_loop(network.to(device), batch, clips=16 if quick else 2048)
        try:
            rates = loop.rates(12 if quick else 100, compile=compile)
            break
        except WorkError as error:
            if "out of GPU memory" not in str(error) or batch < 16:
                raise
            batch //= 2
            del network, loop
            gc.collect()
            torch.cuda.empty_cache()
    epoch_s = EPOCH / rates.clips_per_s
    mfu = "MFU unknown" if rates.mfu is None else f"MFU {rates.mfu:.1%}"
    text = (
        f"{epoch_s:.2f} s an epoch, {rates.clips_per_s:,.0f} clips/s, {mfu}, waiting {rates.wait_share:.1%} "
        f"(batch {batch}, {gigaflops:.1f} GFLOP a clip)"
    )
    name = f"{model.name}, {'compiled' if rates.compiled else 'eager'} loop, 90% masked"
    if model.clips_per_s is not None:
        target, met = f">= {model.clips_per_s:,.0f} clips/s", rates.clips_per_s >= model.clips_per_s
    else:
        target, met = f"<= {model.epoch_s} s", model.epoch_s is not None and epoch_s <= model.epoch_s
    return [[name, text, target, _verdict(met)]]


def _clip_flops(model: MAE) -> int:
    """Of a forward and a backward pass on one clip, 90% masked."""
    grid = model.config.grid
    split = TokenSplit.of(Masking("tube", 0.9)(1, grid, Generator()), 1, grid)
    video = torch.zeros(1, 3, grid.num_frames, grid.image_size, grid.image_size)
    objective = Objective(model, lambda batch: {"loss": model(*batch).loss})
    return count_flops(objective, (video, split), torch.device("cpu"))


def measure_steps(device: torch.device, *, quick: bool) -> list[list[str]]:
    """A step on a batch on the device: ours eager, compiled and with CUDA graphs, and `transformers`."""
    case = models.CASES[CASE]
    if quick:
        case = replace(case, batch=2, config=dict(case.config) | _TINY)
        methods = {name: method for name, method in models.GPU_METHODS.items() if not method.compile}
        measured = models.gpu_steps(case, methods, device, steps=2, rounds=1)
    else:
        case = replace(case, batch=256)
        measured = models.gpu_steps(case, models.GPU_METHODS, device, steps=10, rounds=7)
    precision = "bfloat16" if device.type == "cuda" else "float32"
    title = f"step, small 2x8x8, batch {case.batch}, {precision}"
    rows = [
        [f"{title}: {name}", f"{step.seconds * 1000:.2f} ms, {step.memory / 1e6:,.0f} MB", "", ""]
        for name, step in measured.items()
    ]
    if models.EAGER not in measured:
        return [*rows, [f"{title}: against transformers", f"{NOT_MEASURED}: transformers is not installed", "", ""]]
    best = min((step.seconds, name) for name, step in measured.items() if name.startswith(models.OURS))
    ratio = measured[models.EAGER].seconds / best[0]
    text = f"{ratio:.2f}x faster than transformers, eager ({best[1]})"
    return [*rows, [f"{title}: against transformers", text, ">= 2.5x", _verdict(ratio >= 2.5)]]


def measure_batches(device: torch.device, *, quick: bool) -> list[list[str]]:
    """Batches of windows and masks from resident clips, as the loop's thread draws them."""
    size, count = (4, 3) if quick else (1024, 50)
    clips, config = Clips(), model_config("small_2x8x8")
    rows = clips.select(split="train")[: 16 if quick else 2048]
    data = ClipWindows(clips, rows, frames=16, stride=4, device=device, storage="memory")
    sampler = BatchSampler(data, config, Masking("tube", 0.9), size, seed=0, buffer=2000)
    seconds = []
    for step in range(count):
        start = time.perf_counter()
        batch = sampler(Draw(step, Generator().manual_seed(step)))
        _synchronise(device)
        seconds.append(time.perf_counter() - start)
    rate, nbytes = size / statistics.median(seconds), batch.frames[0].nbytes
    text = f"{rate:,.0f} clips/s, {rate * nbytes / 1e9:.1f} GB/s (batch {size})"
    return [["windows and masks from resident clips, 16x64x64", text, "", ""]]


def measure_augmentation(device: torch.device, *, quick: bool) -> list[list[str]]:
    """Crop, flip, RandAugment and preprocessing of a batch on the device, eager and compiled."""
    size = 4 if quick else 256
    frames = torch.randint(256, (size, 16, 64, 64, 3), dtype=torch.uint8, device=device)
    augment, config = Augment(AugmentConfig()), model_config("small_2x8x8")
    draws = torch.utils._pytree.tree_map_only(  # noqa: SLF001 (torch has no public one)
        torch.Tensor, lambda values: values.to(device), augment.draw(frames, Generator().manual_seed(0))
    )
    methods: dict[str, Callable[[], object]] = {"eager": lambda: preprocess(augment.apply(frames, draws), config)}
    if not quick:
        fast = torch.compile(methods["eager"], dynamic=False)
        methods["compiled"] = fast
    rows = []
    for name, apply in methods.items():
        seconds = _median_seconds(apply, device, 2 if quick else 20)
        rows.append([f"augmentation, {name}, 16x64x64", f"{size / seconds:,.0f} clips/s (batch {size})", "", ""])
    return rows


def measure_shards(device: torch.device, *, quick: bool) -> list[list[str]]:
    """All clips from the shards to the device, and their decoding alone."""
    clips = Clips()
    count = 32 if quick else ALL_CLIPS
    needed = count * clips.ticks * clips.size**2 * 3
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        count = min(count, int(0.7 * free / needed * count))
    rows = clips.rows[:count]
    filmstrips = {row.shard + str(row.offset): row for row in rows}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(clips.decode, filmstrips.values()))  # into the page cache
        start = time.perf_counter()
        for _ in pool.map(clips.decode, rows):
            pass
        decode_s = time.perf_counter() - start
    start = time.perf_counter()
    frames = load_frames(clips, rows, device, "memory")
    _synchronise(device)
    total_s = time.perf_counter() - start
    del frames
    nbytes = sum(row.length for row in rows)
    text = f"{total_s:.1f} s, decoding alone {decode_s:.1f} s, {os.cpu_count()} cores, {nbytes / 1e9:.1f} GB of JPEG"
    target, verdict = ("<= 10 s", _verdict(total_s <= 10)) if count == ALL_CLIPS else (f"<= 10 s for {ALL_CLIPS:,}", "")
    return [[f"{count:,} clips from shards to the device", text, target, verdict]]


def _median_seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    seconds = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        run()
        _synchronise(device)
        if number > 1:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


if __name__ == "__main__":
    main()
