"""The baseline without external memory: two stacked LSTMs over the same episodes, as in the authors' own code."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class LSTMState(NamedTuple):
    """Hidden and cell states of both layers, each (B, controller)."""

    hidden: Tensor
    cell: Tensor
    upper_hidden: Tensor
    upper_cell: Tensor


class LSTMCore(nn.Module):
    """One step at a time: `(B, inputs)` -> logits `(B, classes)` and the next state."""

    def __init__(self, inputs: int, classes: int, *, controller: int = 200) -> None:
        super().__init__()
        self.lower = nn.LSTMCell(inputs, controller)
        self.upper = nn.LSTMCell(controller, controller)
        self.output = nn.Linear(controller, classes)

    def initial_state(self, batch: int) -> LSTMState:
        """All zeros."""
        zero = self.output.weight.new_zeros(batch, self.output.in_features)
        return LSTMState(zero, zero, zero, zero)

    def step(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Take one input."""
        hidden, cell = self.lower(inputs, (state.hidden, state.cell))
        upper_hidden, upper_cell = self.upper(hidden, (state.upper_hidden, state.upper_cell))
        return self.output(upper_hidden), LSTMState(hidden, cell, upper_hidden, upper_cell)

    def forward(self, inputs: Tensor) -> Tensor:
        """A whole sequence `(B, S, inputs)` -> logits `(B, S, classes)`."""
        state, logits = self.initial_state(len(inputs)), []
        for instance in inputs.unbind(1):
            out, state = self.step(instance, state)
            logits.append(out)
        return torch.stack(logits, 1)
