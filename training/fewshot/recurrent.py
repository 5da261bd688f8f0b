"""Few-shot classification by a recurrent network that takes embeddings with their labels step by step."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.head import Head

State = tuple[Tensor, ...]
"""Tensors with the batch as their first dimension."""


def initialise(lstm: nn.LSTM | nn.LSTMCell, gain: float) -> None:
    """Orthogonal recurrent matrices, open forget gates (bias 1), and input matrices `gain` times as Glorot and Bengio (2010).

    The logits of a clip depend on products of it with an earlier clip and that clip's label. With small weights the cells are
    nearly linear, these products vanish, and so does their gradient: nothing is learnt.
    """
    for name, parameter in lstm.named_parameters():
        for number, gate in enumerate(parameter.data.chunk(4)):  # input, forget, cell, output
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(gate, gain)
            else:
                nn.init.constant_(gate, float(name.startswith("bias_ih") and number == 1))


class Recurrence(nn.Module, ABC):
    """A recurrent network: one input (B, inputs) and a state -> logits (B, classes) and the next state."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before the first step."""

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; `state` is not changed."""

    def unroll(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The logits (B, S, classes) of the inputs (B, S, inputs) in turn, and the state after them; S is at least 1."""
        logits = []
        for step in inputs.unbind(1):
            out, state = self(step, state)
            logits.append(out)
        return torch.stack(logits, 1), state

    def run(self, inputs: Tensor, state: State) -> State:
        """The state after the inputs (B, S, inputs) in turn."""
        for step in inputs.unbind(1):
            _, state = self(step, state)
        return state

    def predict(self, inputs: Tensor, state: State) -> Tensor:
        """The logits of one step from the same state for every input: (B, Q, inputs) -> (B, Q, classes)."""
        copies = tuple(part.repeat_interleave(inputs.shape[1], 0) for part in state)
        logits: Tensor = self(inputs.flatten(0, 1), copies)[0].unflatten(0, inputs.shape[:2])
        return logits


class RecurrentHead(Head):
    """Runs a recurrent network over the support, each embedding beside its one-hot label; queries come without label.

    Args:
        network: takes embedding and label, E + way values.
        scale: initial factor on embeddings; learned.
    """

    def __init__(self, network: Recurrence, scale: float) -> None:
        super().__init__()
        self.network = network
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Classify each query from the state that the support leaves; its own next state is dropped."""
        state = self._take(support, labels, self.network.initial_state(len(queries)))
        return self._predict(queries, labels.shape[2], state)

    def rounds(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Classify each round, then take it in as support."""
        state = self.network.initial_state(len(embedded))
        logits = []
        for number in range(embedded.shape[1]):
            if number:
                state = self._take(embedded[:, number - 1], labels[:, number - 1], state)
            logits.append(self._predict(embedded[:, number], labels.shape[3], state))
        return torch.stack(logits, 1)

    def sequence(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """One step per clip, as Santoro et al. (2016) have it: the inputs of step t are x_t and the label of x_(t-1)."""
        late = F.pad(labels[:, :-1], (0, 0, 1, 0))  # zero in the first step
        state = self.network.initial_state(len(embedded))
        return self.network.unroll(torch.cat([self.scale * embedded, late], 2), state)[0]

    def _take(self, embedded: Tensor, labels: Tensor, state: State) -> State:
        return self.network.run(torch.cat([self.scale * embedded, labels], 2), state)

    def _predict(self, queries: Tensor, way: int, state: State) -> Tensor:
        blank = queries.new_zeros(*queries.shape[:2], way)
        return self.network.predict(torch.cat([self.scale * queries, blank], 2), state)


class TwoStepHead(RecurrentHead):
    """A recurrent head that takes two steps per clip of a sequence: one classifies it, the next takes it in with its label.

    Labels are known as late as in `RecurrentHead.sequence`, where the network has to keep a clip until its label comes with
    the next one. Here the step that classifies leaves the state as it was.
    """

    def sequence(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Classify every clip with all clips before it as support: rounds of one clip."""
        return self.rounds(embedded.unsqueeze(2), labels.unsqueeze(2)).squeeze(2)
