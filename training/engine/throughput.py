"""Clips per second, the share of time spent waiting for batches, and model FLOPs utilisation (MFU)."""

import re
import time
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.engine.objective import dry_run

# Dense bfloat16 FLOP/s of tensor cores with float32 accumulation, by patterns of the names that torch gives GPUs. From NVIDIA's
# data sheets (half of the number with sparsity) and white papers (RTX 4090: Ada; RTX 3090: GA102).
_PEAKS = {
    r"B200": 2.25e15,
    r"H[12]00 NVL": 835e12,
    r"H100 PCIe": 756e12,
    r"H100|H200": 989e12,
    r"A100": 312e12,
    r"L40S": 362e12,
    r"L4$": 121e12,
    r"RTX 4090$": 165e12,
    r"RTX 3090$": 71e12,
}


def peak_flops(device_name: str) -> float | None:
    """Dense bfloat16 FLOP/s of a GPU by the name that torch gives it; None if it is not known."""
    return next((peak for pattern, peak in _PEAKS.items() if re.search(rf"\b(?:{pattern})", device_name)), None)


def count_flops(objective: nn.Module, batch: Any, device: torch.device) -> int:
    """Floating-point operations of a forward and a backward pass, those of matrix products, convolutions and attention."""
    with FlopCounterMode(display=False) as counter:
        dry_run(objective, batch, device)
    flops: int = counter.get_total_flops()
    return flops


class Meter:
    """Rates between two reads.

    Args:
        clips: of a step, in all processes.
        step_flops: of a step, in this process; None where they are not counted.
        peak: FLOP/s of this process's device.
    """

    def __init__(self, clips: int, step_flops: float | None = None, peak: float | None = None) -> None:
        self._clips, self._step_flops, self._peak = clips, step_flops, peak
        self.restart(0.0)

    def restart(self, waited_s: float) -> None:
        """Start an interval; `waited_s` are the seconds waited for batches so far."""
        self._started, self._waited_s = time.perf_counter(), waited_s

    def read(self, steps: int, waited_s: float) -> dict[str, float]:
        """`clips_per_s`, `wait_share` and, where the device's peak is known, `mfu` over `steps` since the start of the interval."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        rates = {
            "clips_per_s": steps * self._clips / seconds,
            "wait_share": min(1.0, (waited_s - self._waited_s) / seconds),
        }
        if self._step_flops is not None and self._peak is not None:
            rates["mfu"] = steps * self._step_flops / seconds / self._peak
        return rates
