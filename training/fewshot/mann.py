"""Memory-augmented network: an LSTM that writes to and reads from an external memory (Santoro et al., ICML 2016).

Per step, with usage `w_u`, read weights `w_r` and write weights `w_w` over the rows of the memory `M`:

    w_w <- s(a) w_r(previous) + (1 - s(a)) w_lu(previous)        write to what was just read, or to what is least used
    M   <- M with its least-used row set to zero, then + w_w k   key `k` is what is written
    w_r <- softmax of b * cosine similarity of k to each row     and also what is looked up
    w_u <- decay w_u + w_r + w_w

Each read head has its own `k` and gate `a`; head j writes to the j-th least-used row, so that heads keep apart, and
only the one least-used row is erased. The read vectors go back into the controller at the next step, and the output is
computed from controller state and read vectors together, `[h, r]`. The key strength b is learned, as in the Neural
Turing Machine: at b = 1 (the paper's plain softmax) no row of 128 can be read by itself, whatever the similarity.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MemoryState(NamedTuple):
    """What the network carries from one step to the next; B is the batch, J the read heads, R the rows."""

    hidden: Tensor  # (B, controller)
    cell: Tensor  # (B, controller)
    memory: Tensor  # (B, R, width)
    read_weights: Tensor  # (B, J, R)
    usage: Tensor  # (B, R)
    read: Tensor  # (B, J * width)


class MANN(nn.Module):
    """Sequence of inputs (B, S, inputs) -> logits (B, S, classes), with an external memory.

    The defaults are the paper's: memory of 128 rows of 40, LSTM of 200, 4 read heads, usage decay 0.95.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        *,
        rows: int = 128,
        width: int = 40,
        controller: int = 200,
        heads: int = 4,
        decay: float = 0.95,
        strength: float = 10.0,
    ) -> None:
        super().__init__()
        if heads > rows:
            raise ValueError(f"a memory of {rows} rows cannot give {heads} heads a least-used row each")
        self.rows, self.width, self.heads, self.decay = rows, width, heads, decay
        self.controller = nn.LSTMCell(inputs + heads * width, controller)
        self.keys = nn.Linear(controller, heads * width)
        self.gates = nn.Linear(controller, heads)
        self.strength = nn.Parameter(torch.full((heads, 1), strength))
        self.output = nn.Linear(controller + heads * width, classes)

    def initial_state(self, batch: int) -> MemoryState:
        """An unwritten memory. Its rows are tiny instead of zero, where cosine similarity has no gradient."""
        like = self.keys.weight
        hidden = like.new_zeros(batch, self.controller.hidden_size)
        weights = F.one_hot(torch.arange(self.heads, device=like.device), self.rows).to(like.dtype)
        return MemoryState(
            hidden=hidden,
            cell=hidden,
            memory=like.new_full((batch, self.rows, self.width), 1e-6),
            read_weights=weights.expand(batch, -1, -1),
            usage=like.new_zeros(batch, self.rows),
            read=like.new_zeros(batch, self.heads * self.width),
        )

    def step(self, inputs: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One instance (B, inputs) -> logits (B, classes) and the next state."""
        hidden, cell = self.controller(torch.cat([inputs, state.read], 1), (state.hidden, state.cell))
        keys = torch.tanh(self.keys(hidden)).unflatten(1, (self.heads, self.width))
        gate = torch.sigmoid(self.gates(hidden)).unsqueeze(2)

        least_used = state.usage.topk(self.heads, largest=False).indices
        unused = F.one_hot(least_used, self.rows).to(keys.dtype)
        write_weights = gate * state.read_weights + (1 - gate) * unused
        kept = state.memory * (1 - unused[:, 0]).unsqueeze(2)
        memory = torch.baddbmm(kept, write_weights.transpose(1, 2), keys)

        similarity = F.normalize(keys, dim=2) @ F.normalize(memory, dim=2).transpose(1, 2)
        read_weights = (self.strength * similarity).softmax(2)
        read = (read_weights @ memory).flatten(1)
        usage = self.decay * state.usage + (read_weights + write_weights).sum(1)
        logits = self.output(torch.cat([hidden, read], 1))
        return logits, MemoryState(hidden, cell, memory, read_weights, usage, read)

    def forward(self, inputs: Tensor, state: MemoryState | None = None) -> tuple[Tensor, MemoryState]:
        """A sequence (B, S, inputs) -> logits (B, S, classes) and the state after its last step."""
        state = self.initial_state(len(inputs)) if state is None else state
        logits = []
        for instance in inputs.unbind(1):
            out, state = self.step(instance, state)
            logits.append(out)
        return torch.stack(logits, 1), state
