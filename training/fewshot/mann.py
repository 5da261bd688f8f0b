"""Memory-augmented neural network: an LSTM that reads from and writes to an external memory (Santoro et al., ICML 2016).

The equations of a step, with the names that the comments in `MANN` repeat. Over the rows i of the memory M there are read
weights w_r, write weights w_w and usage weights w_u. Each head has its own key k, gate a, w_r and w_w. A step reads the
memory as the step before left it, then writes to it:

    similarity   K(k, M(i)) = k . M(i) / (|k| |M(i)|)
    read         w_r <- softmax over i of b K(k, M(i)),  r = sum over i of w_r(i) M(i)
    least used   w_lu(i) = 1 for the n rows with the least usage before this step, else 0; n heads
    write        w_w <- s(a) w_r(previous step) + (1 - s(a)) w_lu
    memory       M <- M with its least-used row set to zero; then M(i) <- M(i) + w_w(i) k, for every head
    usage        w_u <- decay w_u + w_r + w_w, summed over heads

The controller's state and the read vectors together, `[h, r]`, give the logits; the read vectors are an input of its next step.

Options:

- `write: shared` is as published: every head may write to all n rows of w_lu. With `per_head`, head j writes to the j-th
  least-used row alone, so that no two heads add their keys in one row.
- `softmax: plain` is as published, b = 1. With it no single row of 128 gets more than 5.5% of the weight, whatever the
  similarities; `sharpened` learns a key strength b for every head, as in the Neural Turing Machine.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.recurrent import Recurrence, State, initialise

_UNWRITTEN = 1e-6  # value of unwritten memory; at zero, cosine similarity has no gradient
_GAIN = 3.0  # of the controller's initial input matrices
_LEAST_NORM = 1e-12  # that similarities are divided by


class MANNState(NamedTuple):
    """The state between two steps; B is the batch, J the heads, R the rows."""

    hidden: Tensor  # (B, controller)
    cell: Tensor  # (B, controller)
    memory: Tensor  # (B, R, width)
    read_weights: Tensor  # (B, J, R)
    usage: Tensor  # (B, R)
    read: Tensor  # (B, J * width)


class MANN(Recurrence):
    """LSTM controller with an external memory.

    Args:
        inputs: values of an input.
        classes: number of logits.
        rows: rows of the memory (128 in the paper).
        width: values of a row (40).
        controller: units of the LSTM (200).
        heads: read and write heads (4).
        decay: of the usage, per step (0.95).
        write: rows that a head writes to: all of the least-used ones, or one of its own.
        softmax: of the read weights.
        key_strength: initial factor on similarities with `sharpened`.

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
        write: Literal["shared", "per_head"] = "shared",
        softmax: Literal["plain", "sharpened"] = "sharpened",
        key_strength: float = 10.0,
    ) -> None:
        super().__init__()
        if heads > rows:
            raise ValueError(f"heads is {heads}: must be at most rows, {rows}")
        self.rows, self.width, self.heads, self.decay, self.write = rows, width, heads, decay, write
        self.controller = nn.LSTMCell(inputs + heads * width, controller)
        initialise(self.controller, _GAIN)
        self.keys = nn.Linear(controller, heads * width)
        self.gates = nn.Linear(controller, heads)
        self.strength = nn.Parameter(torch.full((heads, 1), key_strength)) if softmax == "sharpened" else None
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
        hidden, cell, keys = self._control(inputs, before.read, before.hidden, before.cell)
        read_weights = self._read_weights(keys, before.memory)
        read = (read_weights @ before.memory).flatten(1)  # read

        ranked = F.one_hot(before.usage.topk(self.heads, largest=False).indices, self.rows).to(keys.dtype)  # (B, J, R)
        least_used = ranked.sum(1, keepdim=True) if self.write == "shared" else ranked  # least used
        gate = torch.sigmoid(self.gates(hidden)).unsqueeze(2)
        write_weights = gate * before.read_weights + (1 - gate) * least_used  # write
        kept = before.memory * (1 - ranked[:, 0]).unsqueeze(2)  # memory: its least-used row set to zero
        memory = torch.baddbmm(kept, write_weights.transpose(1, 2), keys)  # memory: the keys of all heads added
        usage = self.decay * before.usage + (read_weights + write_weights).sum(1)  # usage
        logits = self.output(torch.cat([hidden, read], 1))
        return logits, MANNState(hidden, cell, memory, read_weights, usage, read)

    def predict(self, inputs: Tensor, state: State) -> Tensor:
        """The logits of one step from the same state for every input, without copies of the memory; see `Recurrence`."""
        before = MANNState(*state)
        number = inputs.shape[1]
        copies = [part.repeat_interleave(number, 0) for part in (before.read, before.hidden, before.cell)]
        hidden, _, keys = self._control(inputs.flatten(0, 1), *copies)
        by_episode = keys.unflatten(0, inputs.shape[:2]).flatten(1, 2)  # (B, Q * J, width)
        weights = self._read_weights(by_episode, before.memory)
        read = (weights @ before.memory).unflatten(1, (number, self.heads)).flatten(0, 1).flatten(1)
        logits: Tensor = self.output(torch.cat([hidden, read], 1)).unflatten(0, inputs.shape[:2])
        return logits

    def _control(self, inputs: Tensor, read: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The controller's next state, and the keys (B, J, width)."""
        hidden, cell = self.controller(torch.cat([inputs, read], 1), (hidden, cell))
        return hidden, cell, torch.tanh(self.keys(hidden)).unflatten(1, (self.heads, self.width))

    def _read_weights(self, keys: Tensor, memory: Tensor) -> Tensor:
        """Similarity and read: keys (B, K, width) and memory (B, R, width) -> (B, K, R); K counts heads fastest."""
        # The product is divided by the norms, because it is smaller than the memory.
        norms = memory.norm(dim=2).clamp(min=_LEAST_NORM).unsqueeze(1)
        similarity = F.normalize(keys, dim=2) @ memory.transpose(1, 2) / norms  # similarity
        if self.strength is not None:
            similarity = self.strength.repeat(keys.shape[1] // self.heads, 1) * similarity
        weights: Tensor = similarity.softmax(2)  # read
        return weights
