"""A pre-training step of ours against `transformers`' VideoMAE: the same shapes, tokens, loss and optimiser.

A step is forward, backward and AdamW on a batch that is in memory. On the CPU: float32, processor time on one core. On a GPU,
where there is one: wall time, synchronised, float32 and bfloat16, eager and compiled.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from benchmarks.measure import (
    Target,
    describe_machine,
    markdown_table,
    pin_to_one_core,
    print_targets,
    side_by_side,
)
from training.models import create_model
from training.models.masking import Masking

_STEPS = 2  # per timing
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


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


def our_loss(model: nn.Module, video: Tensor, mask: Tensor) -> Tensor:
    """Its loss; video (B, 3, T, H, W), mask (B, N)."""
    loss: Tensor = model(video, mask).loss
    return loss


def transformers_model(case: Case, attention: str) -> nn.Module:
    """The same model by `transformers`; `attention` is its implementation, eager or sdpa."""
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


def transformers_loss(model: nn.Module, video: Tensor, mask: Tensor) -> Tensor:
    """Its loss; video (B, 3, T, H, W), mask (B, N)."""
    loss: Tensor = model(video.transpose(1, 2), bool_masked_pos=mask).loss
    return loss


METHODS: dict[str, tuple[Callable[[Case], nn.Module], Loss]] = {
    "ours": (our_model, our_loss),
    "transformers, eager": (lambda case: transformers_model(case, "eager"), transformers_loss),
    "transformers, sdpa": (lambda case: transformers_model(case, "sdpa"), transformers_loss),
}


def training_steps(
    model: nn.Module, compute_loss: Loss, case: Case, device: str, *, bfloat16: bool = False
) -> Callable[[], None]:
    """A function that makes `_STEPS` training steps on a random batch; masks are made on the host, as in training."""
    model.to(device).train()
    grid = create_model(case.preset, **case.config).config.grid
    generator = Generator().manual_seed(0)
    size = (case.batch, 3, grid.num_frames, grid.image_size, grid.image_size)
    video = torch.randn(size, generator=generator).to(device)
    mask = Masking("tube", case.ratio)(case.batch, grid, generator)
    if compute_loss is transformers_loss:
        mask = mask.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")

    def run() -> None:
        for _ in range(_STEPS):
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                loss = compute_loss(model, video, mask)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory-of", nargs=2, metavar=("CASE", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        label, method = arguments.memory_of
        _steps_on_cpu(CASES[label], method)()
        print(_peak_megabytes())
        return
    print(f"{describe_machine()}, torch {torch.__version__}\n")
    targets = _measure_cpu(arguments.rounds)
    if torch.cuda.is_available():
        targets += _measure_gpu(arguments.rounds)
    print_targets(targets)


def _steps_on_cpu(case: Case, method: str) -> Callable[[], None]:
    create, compute_loss = METHODS[method]
    return training_steps(create(case), compute_loss, case, "cpu")


def _measure_cpu(rounds: int) -> list[Target]:
    pin_to_one_core()
    torch.set_num_threads(1)
    rows, targets = [], []
    for label, case in CASES.items():
        seconds = side_by_side({name: _steps_on_cpu(case, name) for name in METHODS}, rounds=rounds, label=label)
        for name, value in seconds.items():
            ratio, memory = value / seconds["ours"], _memory_of(label, name)
            rows.append([label, name, f"{value / _STEPS * 1000:.0f} ms", f"{ratio:.2f}x", f"{memory:,.0f} MB"])
        title = f"pre-training step, {label}, float32, one core"
        eager = seconds["transformers, eager"]
        targets.append(Target(title, seconds["ours"], eager, "transformers eager", 1.1, faster=True))
    head = ["model", "method", "step", "ratio to ours", "peak memory of its process"]
    print(markdown_table(head, rows), end="\n\n")
    return targets


def _measure_gpu(rounds: int) -> list[Target]:
    rows, targets = [], []
    for label, case in CASES.items():
        large = replace(case, batch=16 * case.batch)
        seconds = {}
        for name, method, bfloat16, compiled in (
            ("ours, float32", "ours", False, False),
            ("ours, bfloat16", "ours", True, False),
            ("ours, bfloat16, compiled", "ours", True, True),
            ("transformers, eager, bfloat16", "transformers, eager", True, False),
            ("transformers, sdpa, bfloat16", "transformers, sdpa", True, False),
        ):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            create, compute_loss = METHODS[method]
            model = create(large)
            if compiled:
                model.compile()
            run = training_steps(model, compute_loss, large, "cuda", bfloat16=bfloat16)
            run()
            times = sorted(_wall_seconds(run) for _ in range(rounds))
            seconds[name] = times[len(times) // 2]
            peak = torch.cuda.max_memory_allocated() / 1e6
            rows.append([label, name, f"{seconds[name] / _STEPS * 1000:.1f} ms", f"{peak:,.0f} MB"])
        title = f"pre-training step, {label}, {torch.cuda.get_device_name()}"
        best = min(seconds["ours, bfloat16"], seconds["ours, bfloat16, compiled"])
        eager = seconds["transformers, eager, bfloat16"]
        targets.append(Target(title, best, eager, "transformers eager, bfloat16", 2.5, faster=True))
    print(markdown_table(["model", "method", "step", "peak GPU memory"], rows), end="\n\n")
    return targets


def _wall_seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


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
