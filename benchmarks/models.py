"""A pre-training step of ours against `transformers`' VideoMAE: the same shapes, tokens, loss and optimiser.

A step is forward, backward and AdamW on a batch that is on the device. On the CPU: float32, processor time on one core. On a
GPU, where there is one: bfloat16, wall time, synchronised; ours eager, compiled, and with CUDA graphs.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from benchmarks.measure import (
    Target,
    UnsupportedError,
    describe_machine,
    markdown_table,
    pin_to_one_core,
    print_targets,
    side_by_side,
)
from training.engine.objective import Objective, compiled, mixed_precision
from training.models import create_model
from training.models.masking import Masking
from training.models.tubelets import TokenSplit

Loss = Callable[[nn.Module, Tensor, TokenSplit], Tensor]


@dataclass(frozen=True)
class Case:
    """A model and a batch, the same for every method."""

    preset: str
    batch: int
    ratio: float  # of masked tokens, in tubes
    config: Mapping[str, Any]


CASES = {
    "small 2x8x8, 16x64x64": Case(
        "small_2x8x8",
        16,
        0.9,
        {"num_frames": 16, "image_size": 64, "tubelet": 2, "patch": 8, "dim": 192, "depth": 6, "heads": 6}
        | {"decoder_dim": 96, "decoder_depth": 2, "decoder_heads": 3, "bias": "no_key", "target": "per_channel"},
    ),
    "VideoMAE-S, 16x112x112": Case(
        "videomae_small",
        8,
        0.9,
        {"num_frames": 16, "image_size": 112, "tubelet": 2, "patch": 16, "dim": 384, "depth": 12, "heads": 6}
        | {"decoder_dim": 192, "decoder_depth": 4, "decoder_heads": 3},
    ),
}


def our_model(case: Case) -> nn.Module:
    """Our masked autoencoder."""
    return create_model(case.preset, **case.config)


def our_loss(model: nn.Module, video: Tensor, split: TokenSplit) -> Tensor:
    """Its loss; video (B, 3, T, H, W)."""
    loss: Tensor = model(video, split).loss
    return loss


def transformers_model(attention: str, case: Case) -> nn.Module:
    """The same model by `transformers`; `attention` is its implementation, eager or sdpa.

    Raises:
        UnsupportedError: it is not installed.
    """
    if not find_spec("transformers"):
        raise UnsupportedError
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    config = case.config
    fields: dict[str, Any] = {
        "image_size": config["image_size"],
        "patch_size": config["patch"],
        "num_frames": config["num_frames"],
        "tubelet_size": config["tubelet"],
        "hidden_size": config["dim"],
        "num_hidden_layers": config["depth"],
        "num_attention_heads": config["heads"],
        "intermediate_size": 4 * config["dim"],
        "decoder_hidden_size": config["decoder_dim"],
        "decoder_num_hidden_layers": config["decoder_depth"],
        "decoder_num_attention_heads": config["decoder_heads"],
        "decoder_intermediate_size": 4 * config["decoder_dim"],
        "use_mean_pooling": False,
        "attn_implementation": attention,
    }
    model: nn.Module = VideoMAEForPreTraining(VideoMAEConfig(**fields))
    return model


def transformers_loss(model: nn.Module, video: Tensor, split: TokenSplit) -> Tensor:
    """Its loss; video (B, 3, T, H, W)."""
    loss: Tensor = model(video.transpose(1, 2), bool_masked_pos=split.mask).loss
    return loss


class Method(NamedTuple):
    """A way to compute a step.

    Attributes:
        create: the model.
        compute_loss: its loss.
        compile: by torch.compile.
        graphs: also record CUDA graphs.
    """

    create: Callable[[Case], nn.Module]
    compute_loss: Loss
    compile: bool = False
    graphs: bool = False


OURS, EAGER, SDPA = "ours", "transformers, eager", "transformers, sdpa"
METHODS = {
    OURS: Method(our_model, our_loss),
    EAGER: Method(partial(transformers_model, "eager"), transformers_loss),
    SDPA: Method(partial(transformers_model, "sdpa"), transformers_loss),
}
GPU_METHODS = METHODS | {
    "ours, compiled": Method(our_model, our_loss, compile=True),
    "ours, CUDA graphs": Method(our_model, our_loss, compile=True, graphs=True),
}


def training_steps(method: Method, case: Case, device: torch.device, steps: int) -> Callable[[], None]:
    """A function that makes training steps on a random batch, in the engine's precision for the device.

    Raises:
        UnsupportedError: `transformers` is not installed.
    """
    model = method.create(case).to(device).train()
    grid = create_model(case.preset, **case.config).config.grid
    generator = Generator().manual_seed(0)
    size = (case.batch, 3, grid.num_frames, grid.image_size, grid.image_size)
    mask = Masking("tube", case.ratio)(case.batch, grid, generator)
    split = TokenSplit.of(mask, case.batch, grid).to(device)
    batch = torch.randn(size, generator=generator).to(device), split
    objective: nn.Module = Objective(model, lambda batch: {"loss": method.compute_loss(model, *batch)})
    if method.compile:
        objective = compiled(objective, batch, device, graphs=method.graphs, name=case.preset)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        for _ in range(steps):
            torch.compiler.cudagraph_mark_step_begin()
            with mixed_precision(device):
                loss = objective(batch)["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


class Step(NamedTuple):
    """Seconds of a step, and the GPU memory that it takes at its peak, in bytes."""

    seconds: float
    memory: int


def gpu_steps(
    case: Case, methods: Mapping[str, Method], device: torch.device, *, steps: int = 10, rounds: int = 9
) -> dict[str, Step]:
    """Median wall time and memory of a step by each of the methods that are installed, in turn."""
    runs, memory = {}, {}
    for name, method in methods.items():
        before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
        try:
            runs[name] = training_steps(method, case, device, steps)
        except UnsupportedError:
            continue
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        runs[name]()
        memory[name] = (torch.cuda.max_memory_allocated() if device.type == "cuda" else 0) - before
    seconds = side_by_side(runs, rounds=rounds, label=case.preset, clock=time.perf_counter)
    return {name: Step(value / steps, memory[name]) for name, value in seconds.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory-of", nargs=2, metavar=("CASE", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        label, method = arguments.memory_of
        training_steps(METHODS[method], CASES[label], torch.device("cpu"), 2)()
        print(_peak_megabytes())
        return
    print(f"{describe_machine()}, torch {torch.__version__}\n")
    targets = _measure_cpu(arguments.rounds)
    if torch.cuda.is_available():
        targets += _measure_gpu(arguments.rounds)
    print_targets(targets)


def _measure_cpu(rounds: int) -> list[Target]:
    pin_to_one_core()
    torch.set_num_threads(1)
    rows, targets, steps = [], [], 2
    for label, case in CASES.items():
        runs = {name: training_steps(method, case, torch.device("cpu"), steps) for name, method in METHODS.items()}
        seconds = side_by_side(runs, rounds=rounds, label=label)
        for name, value in seconds.items():
            ratio, memory = value / seconds[OURS], _memory_of(label, name)
            rows.append([label, name, f"{value / steps * 1000:.0f} ms", f"{ratio:.2f}x", f"{memory:,.0f} MB"])
        title = f"pre-training step, {label}, float32, one core"
        targets.append(Target(title, seconds[OURS], seconds[EAGER], "transformers eager", 1.1, faster=True))
    head = ["model", "method", "step", "ratio to ours", "peak memory of its process"]
    print(markdown_table(head, rows), end="\n\n")
    return targets


def _measure_gpu(rounds: int) -> list[Target]:
    rows, targets = [], []
    for label, case in CASES.items():
        large = replace(case, batch=16 * case.batch)
        measured = gpu_steps(large, GPU_METHODS, torch.device("cuda"), rounds=rounds)
        rows += [
            [label, name, f"{step.seconds * 1000:.1f} ms", f"{step.memory / 1e6:,.0f} MB"]
            for name, step in measured.items()
        ]
        best = min(step.seconds for name, step in measured.items() if name.startswith(OURS))
        title = f"pre-training step, {label}, bfloat16, {torch.cuda.get_device_name()}"
        targets.append(Target(title, best, measured[EAGER].seconds, "transformers eager", 2.5, faster=True))
    print(markdown_table(["model", "method", "step", "peak GPU memory"], rows), end="\n\n")
    return targets


def _memory_of(label: str, method: str) -> float:
    """Peak memory, in megabytes, of a process that creates the model and makes its steps."""
    command = [sys.executable, "-m", "benchmarks.models", "--memory-of", label, method]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _peak_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


if __name__ == "__main__":
    main()
