"""Copies of frames between host and GPU."""

import torch
from torch import Tensor


def copy_to(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`; pinned for the copy from the host, which then runs beside computation."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
