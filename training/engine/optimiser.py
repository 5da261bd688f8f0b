"""AdamW with timm's parameter groups, and timm's cosine schedule with linear warm-up."""

from typing import Any

import torch
from timm.optim._param_groups import param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import nn
from torch.optim import AdamW

from training.params import Optimiser


def create_optimiser(model: nn.Module, settings: Optimiser) -> AdamW:
    """Fused AdamW over the model's trainable parameters.

    Biases, norms and other parameters of one dimension are not decayed. With `layer_decay` the learning rate falls by that
    factor from layer to layer towards the input (the model's `group_matcher` names the layers).
    """
    groups: list[dict[str, Any]]
    if settings.layer_decay is None:
        groups = param_groups_weight_decay(model, settings.weight_decay)
    else:
        groups = param_groups_layer_decay(model, settings.weight_decay, layer_decay=settings.layer_decay)
    fused = all(parameter.device.type in ("cuda", "cpu") for group in groups for parameter in group["params"])
    return AdamW(groups, lr=settings.lr, betas=(settings.betas[0], settings.betas[1]), fused=fused)


def create_schedule(optimiser: torch.optim.Optimizer, settings: Optimiser) -> CosineLRScheduler:
    """Linear warm-up from `lr` / `warmup`, then half a cosine to zero at `steps`; `step_update(step)` sets a step's rate."""
    return CosineLRScheduler(
        optimiser,
        t_initial=max(1, settings.steps - settings.warmup),
        warmup_t=settings.warmup,
        warmup_lr_init=settings.lr / max(1, settings.warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )
