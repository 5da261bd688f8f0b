"""Support, then queries in one sequence: the form of the paper's published code, with its two LSTMs.

There a support clip comes with its label and a query with zeros in the label's place. The queries follow the support, and each
other, in one sequence, so that a query's logits depend on the queries before it, though not on a label of theirs.
"""

import torch
from torch import Tensor, nn

from training.fewshot.recurrent import Recurrence, RecurrentHead, State


class LSTMPair(Recurrence):
    """An LSTM whose outputs go through a second one, of `classes` units; the hidden values of the second are the logits.

    They lie between -1 and 1, so that of 5 classes none gets a probability above 65%. `LSTMMemory` has no such bound.

    Args:
        inputs: values of an input.
        classes: number of logits.
        units: of the first LSTM (128 in the published code).
    """

    def __init__(self, inputs: int, classes: int, *, units: int) -> None:
        super().__init__()
        self.first = nn.LSTM(inputs, units, batch_first=True)
        self.second = nn.LSTM(units, classes, batch_first=True)
        for layer in (self.first, self.second):
            for name, parameter in layer.named_parameters():
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(parameter)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(parameter)
                else:
                    nn.init.zeros_(parameter)

    def initial_state(self, batch: int) -> State:
        """Hidden and cell states of both, zero: (B, units) twice, (B, classes) twice."""
        like = next(self.parameters())
        first, second = (like.new_zeros(batch, layer.hidden_size) for layer in (self.first, self.second))
        return first, first, second, second

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: inputs (B, inputs) -> logits (B, classes) and the next state."""
        logits, after = self.unroll(inputs.unsqueeze(1), state)
        return logits[:, 0], after

    def unroll(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Recurrence.unroll`."""
        hidden, cell, second_hidden, second_cell = (part.unsqueeze(0) for part in state)
        found, first = self.first(inputs, (hidden, cell))
        logits, second = self.second(found, (second_hidden, second_cell))
        return logits, tuple(part.squeeze(0) for part in (*first, *second))


class SupportQueryHead(RecurrentHead):
    """A recurrent head whose queries follow each other in one sequence, as in the published code.

    Unlike those of other heads, a query's logits depend on the queries before it. Where a round has one clip of each class, a
    network can learn to rule out classes that it has recognised in the round, so that accuracies are not comparable with
    those of heads that classify each query by itself.
    """

    def _predict(self, queries: Tensor, way: int, state: State) -> Tensor:
        blank = queries.new_zeros(*queries.shape[:2], way)
        return self.network.unroll(torch.cat([self.scale * queries, blank], 2), state)[0]
