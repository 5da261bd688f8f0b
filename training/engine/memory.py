"""The batch that fits into a GPU's memory, when one has not fitted."""

import gc
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from training.engine.objective import dry_run


def advice(objective: nn.Module, batch: Any, device: torch.device, accumulate: int, *, moments: bool) -> str:
    """What to set in params.yaml so that a batch that did not fit does, for an error message that it ends.

    Args:
        objective: not compiled.
        batch: the one that did not fit.
        device: of the model.
        accumulate: parts that a step's batch was divided into.
        moments: see `largest_fit`.
    """
    items = batch_items(batch)
    fit = largest_fit(objective, batch, device, moments=moments)
    if not fit:
        return f"with a batch of {items}, and of 1: choose a smaller model in params.yaml"
    parts = accumulate * parts_that_fit(items, fit)
    return (
        f"with a batch of {items}, {fit} fit: set `accumulate` of its optimiser in params.yaml to {parts}, so that "
        f"the gradients of {parts} parts are computed one after the other"
    )


def batch_items(batch: Any) -> int:
    """Items of a batch: the length of its first tensor; 0 if there is none."""
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()), 0)


def largest_fit(objective: nn.Module, batch: Any, device: torch.device, *, moments: bool) -> int:
    """The largest half, quarter, eighth ... of a batch's items of which one pass fits into memory; 0 if none does.

    Args:
        objective: not compiled.
        batch: nested tuples, lists and dicts of tensors whose first dimension are the items.
        device: of the model.
        moments: also allocate the optimiser's moments, two values per parameter, because it has none yet.
    """
    items = batch_items(batch) // 2
    while items and not _fits(objective, _first(batch, items), device, moments):
        items //= 2
    return items


def _first(batch: Any, items: int) -> Any:
    return tree_map_only(Tensor, lambda leaf: leaf[:items] if leaf.dim() else leaf, batch)


def parts_that_fit(items: int, fit: int) -> int:
    """The smallest divisor of `items` that gives parts of at most `fit` items."""
    return next(parts for parts in range(1, items + 1) if items % parts == 0 and items // parts <= fit)


def _fits(objective: nn.Module, batch: Any, device: torch.device, moments: bool) -> bool:
    objective.zero_grad(set_to_none=True)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        reserved = [torch.empty_like(parameter) for parameter in parameters for _ in range(2 if moments else 0)]
        dry_run(objective, batch, device)
        del reserved
    except torch.OutOfMemoryError:
        return False
    return True
