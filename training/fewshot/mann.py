"""Memory-augmented neural network: an LSTM that writes to and reads from an external memory (Santoro et al., ICML 2016).

Per step, with usage `w_u`, read weights `w_r` and write weights `w_w` over the rows of the memory `M`, each head having its
own key `k` and gate `a`:

    w_w <- s(a) w_r(previous) + (1 - s(a)) w_lu(previous)        write to the row last read, or to the least-used row
    M   <- M with its least-used row set to zero, then + w_w k   write the key
    w_r <- softmax of b * cosine similarity of k to each row     read by the same key
    w_u <- decay w_u + w_r + w_w

Head j writes to the j-th least-used row, so that heads write to different rows; only the least-used row is erased. The read
vectors are an input of the controller at the next step, and the logits are computed from controller state and read vectors,
`[h, r]`. The key strength b is learned, as in the Neural Turing Machine: with the paper's plain softmax (b = 1) no single row
of 128 gets most of the weight, whatever the similarities.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.memory import SequenceMemory, State

_UNWRITTEN = 1e-6  # value of unwritten memory; at zero, cosine similarity has no gradient


class MANNState(NamedTuple):
    """The state between two steps; B is the batch, J the heads, R the rows."""

    hidden: Tensor  # (B, controller)
    cell: Tensor  # (B, controller)
    memory: Tensor  # (B, R, width)
    read_weights: Tensor  # (B, J, R)
    usage: Tensor  # (B, R)
    read: Tensor  # (B, J * width)


class MANN(SequenceMemory):
    """LSTM controller with an external memory.

    Args:
        inputs: values of an input.
        classes: number of logits.
        rows: rows of the memory (128 in the paper).
        width: values of a row (40).
        controller: units of the LSTM (200).
        heads: read and write heads (4).
        decay: of the usage, per step (0.95).
        key_strength: initial factor on cosine similarities in reading.

    Raises:
        ValueError: there are more heads than rows.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        rows: int,
        width: int,
        controller: int,
        heads: int,
        decay: float,
        key_strength: float,
    ) -> None:
        super().__init__()
        if heads > rows:
            raise ValueError(f"heads is {heads}: must be at most rows, {rows}")
        self.rows, self.width, self.heads, self.decay = rows, width, heads, decay
        self.controller = nn.LSTMCell(inputs + heads * width, controller)
        self.keys = nn.Linear(controller, heads * width)
        self.gates = nn.Linear(controller, heads)
        self.strength = nn.Parameter(torch.full((heads, 1), key_strength))
        self.output = nn.Linear(controller + heads * width, classes)

    def initial_state(self, batch: int) -> MANNState:
        """An unwritten memory; head j has last read row j."""
        like = self.keys.weight
        hidden = like.new_zeros(batch, self.controller.hidden_size)
        weights = F.one_hot(torch.arange(self.heads, device=like.device), self.rows).to(like.dtype)
        return MANNState(
            hidden=hidden,
            cell=hidden,
            memory=like.new_full((batch, self.rows, self.width), _UNWRITTEN),
            read_weights=weights.expand(batch, -1, -1),
            usage=like.new_zeros(batch, self.rows),
            read=like.new_zeros(batch, self.heads * self.width),
        )

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, MANNState]:
        """One step: inputs (B, inputs) -> logits (B, classes) and the next state."""
        before = MANNState(*state)
        hidden, cell = self.controller(torch.cat([inputs, before.read], 1), (before.hidden, before.cell))
        keys = torch.tanh(self.keys(hidden)).unflatten(1, (self.heads, self.width))
        gate = torch.sigmoid(self.gates(hidden)).unsqueeze(2)

        least_used = before.usage.topk(self.heads, largest=False).indices
        unused = F.one_hot(least_used, self.rows).to(keys.dtype)
        write_weights = gate * before.read_weights + (1 - gate) * unused
        kept = before.memory * (1 - unused[:, 0]).unsqueeze(2)
        memory = torch.baddbmm(kept, write_weights.transpose(1, 2), keys)

        similarity = F.normalize(keys, dim=2) @ F.normalize(memory, dim=2).transpose(1, 2)
        read_weights = (self.strength * similarity).softmax(2)
        read = (read_weights @ memory).flatten(1)
        usage = self.decay * before.usage + (read_weights + write_weights).sum(1)
        logits = self.output(torch.cat([hidden, read], 1))
        return logits, MANNState(hidden, cell, memory, read_weights, usage, read)
