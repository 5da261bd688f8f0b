"""The training loop: its steps against `transformers`' VideoMAE and against bare steps, and the throughput of every stage.

A loop step draws windows and masks from resident clips, computes the small autoencoder's forward and backward pass, clips the
gradients and updates the weights; a bare step, ours or theirs, is forward, backward and AdamW on one batch in memory. The
stages run with the sample's params for a few steps, on drawn clips.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from benchmarks import models
from benchmarks.drawn import write_dataset
from benchmarks.measure import (
    Target,
    describe_machine,
    markdown_table,
    pin_to_one_core,
    print_targets,
    side_by_side,
)
from common.paths import LOGS
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import History, Run
from training.engine.loop import train
from training.models import MAE
from training.models.masking import Masking
from training.params import Compile, Optimiser

REPO = Path(__file__).resolve().parents[1]
CASE = "small 2x8x8, 16x64x64"
STAGES = ("pretrain", "stage1", "stage2", "stage3")


class Rates(NamedTuple):
    """Medians over the intervals of a run's log, without the first: what a step takes once all caches are warm."""

    clips_per_s: float
    wait_share: float  # of the time, spent waiting for batches
    mfu: float | None  # None where the device's peak is not known
    compiled: bool


def main() -> None:
    """Print the tables and the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=30, help="of each run of a stage; the first 10 are not counted")
    arguments = parser.parse_args()
    print(f"{describe_machine()}, torch {torch.__version__}\n")
    with project(clips=160):
        targets = _measure_loop(arguments.rounds)
        if torch.cuda.is_available():
            targets.append(measure_gpu_loop(torch.device("cuda"), arguments.rounds))
        _measure_stages(arguments.steps)
    print_targets(targets)


@contextlib.contextmanager
def project(clips: int, copies: int = 1) -> Iterator[None]:
    """Work in a temporary folder with drawn clips, see `write_dataset`."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), clips, copies=copies)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def optimiser(steps: int, batch: int) -> Optimiser:
    """The full-scale pre-training's values."""
    return Optimiser(steps, 1, batch, lr=1e-4, weight_decay=0.05, betas=(0.9, 0.95), clip_norm=1.0)


class Loop:
    """The engine's loop on an autoencoder.

    Args:
        model: on its device.
        data: its windows.
        batch: clips of a step.
        ratio: of masked tokens, in tubes.
    """

    def __init__(self, model: MAE, data: ClipWindows, batch: int, ratio: float = 0.9) -> None:
        self._model, self._batch = model, batch
        sampler = BatchSampler(data, model.config, Masking("tube", ratio), batch, seed=0, buffer=2000)
        self._task = reconstruction_task(model, sampler)

    def run(self, steps: int, *, compile: Compile = "never", save: bool = False) -> History:
        """Train for a number of steps and return their losses; with `save`, a checkpoint and a log are written."""
        run = Run("bench", f"{steps}", 0, compile)
        return train(run, self._model, optimiser(steps, self._batch), self._task, save=save)

    def rates(self, steps: int, *, compile: Compile = "never") -> Rates:
        """The throughput of a run, from its log."""
        Path("checkpoints/bench/model.pt").unlink(missing_ok=True)
        self.run(steps, compile=compile, save=True)
        return read_rates(LOGS / "bench.jsonl")


def load_loop(model: MAE, batch: int, *, clips: int | None = None) -> Loop:
    """The loop on the first `clips` training clips of the folder, in memory."""
    every = Clips()
    rows, frames = every.select(split="train")[:clips], model.config.num_frames
    device = next(model.parameters()).device
    return Loop(model, ClipWindows(every, rows, frames=frames, stride=4, device=device, storage="memory"), batch)


def read_rates(log: Path) -> Rates:
    """The medians of a run's log."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    counted = steps[1:] or steps
    mfu = [event["mfu"] for event in counted if "mfu" in event]
    return Rates(
        statistics.median(event["clips_per_s"] for event in counted),
        statistics.median(event["wait_share"] for event in counted),
        statistics.median(mfu) if mfu else None,
        bool(events[0]["compiled"]),
    )


def _measure_loop(rounds: int) -> list[Target]:
    """Processor time of loop steps and bare steps, one thread; on the CPU, whatever else there is."""
    case, steps = models.CASES[CASE], 6
    pinned = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin_to_one_core()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model: nn.Module = models.our_model(case)
    assert isinstance(model, MAE)
    loop = load_loop(model, case.batch)
    methods = {
        "training loop": lambda: loop.run(steps),
        **{
            name: models.training_steps(method, case, torch.device("cpu"), steps)
            for name, method in models.METHODS.items()
        },
    }
    seconds = side_by_side(methods, rounds=rounds, label="steps")
    rates = loop.rates(3 * 10)
    ours = seconds["training loop"]
    rows = [
        [name, f"{value / steps * 1000:.0f} ms", f"{value / ours:.2f}x", f"{case.batch * steps / value:.0f}"]
        for name, value in seconds.items()
    ]
    print(f"{CASE}, batch {case.batch}, 90% masked, float32, one core, processor time:\n")
    print(markdown_table(["step", "time", "ratio to the loop", "clips/s"], rows))
    print(f"\nShare of the loop's wall time spent waiting for batches: {rates.wait_share:.2%}\n")
    if pinned:
        os.sched_setaffinity(0, pinned)
    torch.set_num_threads(threads)
    title = f"pre-training step by the loop, {CASE}, float32, one core"
    return [
        Target(title, ours, seconds[models.EAGER], "transformers eager", 1.1, faster=True),
        Target("the same, loop against bare step", ours, seconds[models.OURS], "bare step", 1.1, faster=False),
    ]


def measure_gpu_loop(device: torch.device, rounds: int) -> Target:
    """Wall time of a step of the compiled loop, in bfloat16, against a bare eager step by `transformers`."""
    case = replace(models.CASES[CASE], batch=256)
    theirs = models.gpu_steps(case, {models.EAGER: models.METHODS[models.EAGER]}, device, rounds=rounds)
    model = models.our_model(case).to(device)
    assert isinstance(model, MAE)
    rates = load_loop(model, case.batch).rates(100, compile="auto")
    title = f"pre-training step by the loop, {CASE}, bfloat16, {torch.cuda.get_device_name(device)}"
    ours, eager = case.batch / rates.clips_per_s, theirs[models.EAGER].seconds
    return Target(title, ours, eager, "transformers eager", 2.5, faster=True)


def _measure_stages(steps: int) -> None:
    """Print the throughput of each run of the stages, with the sample's params but for the number of steps."""
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(shorten(params, steps), sort_keys=False))
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    for stage in STAGES:
        command = [sys.executable, "-m", "training", stage]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"{stage}: not measured: {done.stderr.strip().splitlines()[-1]}")
    rows = []
    for log in sorted(LOGS.rglob("*.jsonl")):
        if log.stem != "bench":
            start, *_ = (json.loads(line) for line in log.read_text().splitlines())
            rates = read_rates(log)
            mfu = "" if rates.mfu is None else f"{rates.mfu:.1%}"
            rows.append([start["run"], f"{rates.clips_per_s:,.1f}", f"{rates.wait_share:.1%}", mfu, start["device"]])
    print("The sample's runs, wall time:\n")
    print(markdown_table(["run", "clips/s", "waiting for batches", "MFU", "device"], rows), end="\n\n")


def shorten(params: Any, steps: int) -> Any:
    """The same params with `steps` steps for every optimiser, and as few as are allowed of what depends on them."""
    if isinstance(params, list):
        return [shorten(value, steps) for value in params]
    if not isinstance(params, dict):
        return params
    short = {key: shorten(value, steps) for key, value in params.items()}
    if "steps" in short and "batch" in short:
        short |= {"steps": steps, "warmup": 1}
        short |= {"validations": min(1, short["validations"])} if "validations" in short else {}
    return short


if __name__ == "__main__":
    main()
