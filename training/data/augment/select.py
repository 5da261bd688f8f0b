"""An operation on some clips of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor


def apply_where(chosen: Tensor, operation: Callable[..., Tensor], clips: Tensor, *parameters: Tensor) -> Tensor:
    """`operation(clips, *parameters)` for the chosen clips, the others unchanged.

    On the CPU, outside `torch.compile`, only the chosen clips are computed. Elsewhere all are, and the result is selected:
    shapes then do not depend on values, and a GPU does not wait for the host.

    Args:
        chosen: (B,) bool.
        operation: maps a batch of clips and their parameters to clips of the same shape and dtype.
        clips: (B, ...).
        parameters: tensors of B rows.
    """
    if clips.device.type == "cpu" and not torch.compiler.is_compiling():
        index = chosen.nonzero().squeeze(1)
        if not len(index):
            return clips
        return clips.index_copy(0, index, operation(clips[index], *(values[index] for values in parameters)))
    return torch.where(chosen.view(-1, *[1] * (clips.dim() - 1)), operation(clips, *parameters), clips)
