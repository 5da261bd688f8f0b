"""The baseline without external memory: two stacked LSTMs, as in the paper's published code."""

from typing import NamedTuple

from torch import Tensor, nn

from training.fewshot.memory import SequenceMemory, State


class LSTMState(NamedTuple):
    """Hidden and cell states of both layers, each (B, controller)."""

    hidden: Tensor
    cell: Tensor
    upper_hidden: Tensor
    upper_cell: Tensor


class LSTMMemory(SequenceMemory):
    """Two LSTM cells of `controller` units, and a linear layer from the upper one to the logits."""

    def __init__(self, inputs: int, classes: int, *, controller: int) -> None:
        super().__init__()
        self.lower = nn.LSTMCell(inputs, controller)
        self.upper = nn.LSTMCell(controller, controller)
        self.output = nn.Linear(controller, classes)

    def initial_state(self, batch: int) -> LSTMState:
        """All zeros."""
        zero = self.output.weight.new_zeros(batch, self.output.in_features)
        return LSTMState(zero, zero, zero, zero)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, LSTMState]:
        """One step: inputs (B, inputs) -> logits (B, classes) and the next state."""
        before = LSTMState(*state)
        hidden, cell = self.lower(inputs, (before.hidden, before.cell))
        upper_hidden, upper_cell = self.upper(hidden, (before.upper_hidden, before.upper_cell))
        return self.output(upper_hidden), LSTMState(hidden, cell, upper_hidden, upper_cell)
