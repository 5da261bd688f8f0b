"""What is measured on a GPU: the training loop, a pre-training step, batches, augmentation, and loading from shards.

Every function returns rows of what, measured, target on one H100 and verdict.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator

from benchmarks import models
from benchmarks.gpu_table import NOT_MEASURED
from benchmarks.train import CASE, load_loop
from common.errors import WorkError
from training.clips import Clips
from training.data.augment import Augment, AugmentConfig
from training.data.frames import load_frames
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler
from training.engine.objective import Objective
from training.engine.task import Draw
from training.engine.throughput import count_flops
from training.models import MAE, create_model, model_config
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.models.tubelets import TokenSplit
from training.params import Compile

EPOCH, ALL_CLIPS = 18_406, 24_927  # clips of the training classes, and of the dataset


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
TINY = {"dim": 48, "depth": 1, "heads": 4, "decoder_dim": 48, "decoder_depth": 1, "decoder_heads": 4}


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
        case = replace(case, batch=2, config=dict(case.config) | TINY)
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
