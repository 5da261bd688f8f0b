"""One pre-training step of ours against `transformers`' VideoMAE: the same shapes, tokens, loss and optimiser.

A step is forward, backward and AdamW on a batch that is there already. On the processor: float32, processor seconds on one
core. On a GPU, where there is one: wall seconds, synchronised, eager and compiled, float32 and bfloat16.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from benchmarks.measure import Target, describe_machine, markdown_table, pin_to_one_core, print_targets, side_by_side
from training.models import create_model
from training.models.masking import tube_mask

_STEPS = 2  # of each timing


@dataclass(frozen=True)
class Shape:
    """A model and a batch, for both sides."""

    name: str
    batch: int
    ratio: float
    config: Mapping[str, Any]


SHAPES = {
    "small 2x8x8, 16x64x64": Shape(
        "small_2x8x8",
        16,
        0.9,
        {"num_frames": 16, "image_size": 64, "tubelet": 2, "patch": 8, "dim": 192, "depth": 6, "heads": 6}
        | {"decoder_dim": 96, "decoder_depth": 2, "decoder_heads": 3, "bias": "no_key", "target": "per_channel"},
    ),
    "VideoMAE-S, 16x112x112": Shape(
        "videomae_small",
        8,
        0.9,
        {"num_frames": 16, "image_size": 112, "tubelet": 2, "patch": 16, "dim": 384, "depth": 12, "heads": 6}
        | {"decoder_dim": 192, "decoder_depth": 4, "decoder_heads": 3},
    ),
}


def ours(shape: Shape, device: str) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Our model and its loss."""
    model = create_model(shape.name, **shape.config).to(device).train()
    return model, lambda video, mask: model(video, mask).loss


def theirs(shape: Shape, device: str, attention: str) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """`transformers`' model of the same shape and its loss."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    given = shape.config
    fields: dict[str, Any] = {
        "image_size": given["image_size"],
        "patch_size": given["patch"],
        "num_frames": given["num_frames"],
        "tubelet_size": given["tubelet"],
        "hidden_size": given["dim"],
        "num_hidden_layers": given["depth"],
        "num_attention_heads": given["heads"],
        "intermediate_size": 4 * given["dim"],
        "decoder_hidden_size": given["decoder_dim"],
        "decoder_num_hidden_layers": given["decoder_depth"],
        "decoder_num_attention_heads": given["decoder_heads"],
        "decoder_intermediate_size": 4 * given["decoder_dim"],
        "use_mean_pooling": False,
        "attn_implementation": attention,
    }
    model: nn.Module = VideoMAEForPreTraining(VideoMAEConfig(**fields))
    model = model.to(device).train()
    return model, lambda video, mask: model(video.transpose(1, 2), bool_masked_pos=mask).loss


def stepper(
    made: tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]], shape: Shape, device: str, *, half: bool = False
) -> Callable[[], None]:
    """What is timed: `_STEPS` optimiser steps."""
    model, loss_of = made
    grid = create_model(shape.name, **shape.config).config.grid
    generator = Generator().manual_seed(0)
    size = (shape.batch, 3, grid.num_frames, grid.image_size, grid.image_size)
    video = torch.randn(size, generator=generator).to(device)
    mask = tube_mask(shape.batch, grid, shape.ratio, generator).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")

    def run() -> None:
        for _ in range(_STEPS):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = loss_of(video, mask)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


METHODS = {
    "ours": lambda shape: ours(shape, "cpu"),
    "transformers, eager": lambda shape: theirs(shape, "cpu", "eager"),
    "transformers, sdpa": lambda shape: theirs(shape, "cpu", "sdpa"),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory-of", nargs=2, metavar=("SHAPE", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        shape, method = SHAPES[arguments.memory_of[0]], METHODS[arguments.memory_of[1]]
        stepper(method(shape), shape, "cpu")()
        print(_peak())
        return
    print(f"{describe_machine()}, torch {torch.__version__}\n")
    targets = _processor(arguments.rounds)
    if torch.cuda.is_available():
        targets += _gpu(arguments.rounds)
    else:
        print("GPU: not measured\n")
    print_targets(targets)


def _processor(rounds: int) -> list[Target]:
    pin_to_one_core()
    torch.set_num_threads(1)
    rows, targets = [], []
    for label, shape in SHAPES.items():
        steps = {name: stepper(method(shape), shape, "cpu") for name, method in METHODS.items()}
        seconds = side_by_side(steps, rounds=rounds, label=label)
        memory = {name: _memory(label, name) for name in seconds}
        for name, value in seconds.items():
            step = value / _STEPS
            ratio = value / seconds["ours"]
            rows.append([label, name, f"{step * 1000:.0f} ms", f"{ratio:.2f}x", f"{memory[name]:,.0f} MB"])
        eager = seconds["transformers, eager"]
        what = f"pre-training step, {label}, float32, one core"
        targets.append(Target(what, seconds["ours"], eager, "transformers eager", 1.1, faster=True))
    print(markdown_table(["shape", "method", "step", "to ours", "peak memory of its process"], rows), end="\n\n")
    return targets


def _gpu(rounds: int) -> list[Target]:
    rows, targets = [], []
    name = torch.cuda.get_device_name()
    for label, shape in SHAPES.items():
        big = Shape(shape.name, 16 * shape.batch, shape.ratio, shape.config)
        found = {}
        for method, half, compiled in (
            ("ours", False, False),
            ("ours, bf16", True, False),
            ("ours, bf16, compiled", True, True),
            ("transformers, eager, bf16", True, False),
            ("transformers, sdpa, bf16", True, False),
        ):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            side = ours(big, "cuda") if method.startswith("ours") else theirs(big, "cuda", method.split(", ")[1])
            if compiled:
                side = (side[0], torch.compile(side[1]))
            run = stepper(side, big, "cuda", half=half)
            run()
            times = sorted(_wall(run) for _ in range(rounds))
            found[method] = times[len(times) // 2]
            peak = torch.cuda.max_memory_allocated() / 1e6
            rows.append([label, method, f"{found[method] / _STEPS * 1000:.1f} ms", f"{peak:,.0f} MB"])
        best = min(found["ours, bf16"], found["ours, bf16, compiled"])
        eager = found["transformers, eager, bf16"]
        targets.append(Target(f"the same, {name}, bf16", best, eager, "transformers eager", 2.5, faster=True))
    print(markdown_table(["shape", "method", "step", "peak GPU memory"], rows), end="\n\n")
    return targets


def _wall(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _memory(label: str, method: str) -> float:
    """Megabytes at the peak of a process that makes the model and takes its steps."""
    command = [sys.executable, "-m", "benchmarks.models", "--memory-of", label, method]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _peak() -> float:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
