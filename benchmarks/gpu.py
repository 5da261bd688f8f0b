"""A GPU checked against the CPU, and then measured: one command for a machine with torch, timm and the training packages.

    python -m benchmarks.gpu                       # within ten minutes; clips are drawn, no dataset is needed
    python -m benchmarks.gpu --device cpu --quick  # the same code on tiny models, in about a minute

Prints a table for docs/benchmarks.md; a row that does not fit into the time, or that fails, says so. Exits with 1 if a check
fails.
"""

import argparse
import contextlib
import platform
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import torch

from benchmarks.gpu_checks import run_checks
from benchmarks.gpu_rows import (
    ALL_CLIPS,
    MODELS,
    TINY,
    measure_augmentation,
    measure_batches,
    measure_loop,
    measure_shards,
    measure_steps,
)
from benchmarks.gpu_table import Table
from benchmarks.measure import describe_machine, markdown_table
from benchmarks.train import project


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
        small = replace(model, overrides=TINY | {"image_size": 64}, batch=4) if quick else model
        table.measure(f"{model.name}, loop", needs(60), partial(measure_loop, small, device, "auto", quick))
    table.measure("pre-training step", needs(90), partial(measure_steps, device, quick=quick))
    table.measure("shards to the device", needs(30), partial(measure_shards, device, quick=quick))
    table.measure("resident batches", needs(10), partial(measure_batches, device, quick=quick))
    first = replace(MODELS[0], overrides=TINY, batch=4) if quick else MODELS[0]
    table.measure(f"{first.name}, eager loop", needs(20), partial(measure_loop, first, device, "never", quick))
    table.measure("augmentation", needs(20), partial(measure_augmentation, device, quick=quick))


def _needs(seconds: float, *, quick: bool) -> float:
    return 60 if quick else seconds


if __name__ == "__main__":
    main()
