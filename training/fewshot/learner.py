"""A few-shot learner: embed each clip, answer from memory what it is, then be told and remember.

An episode goes in rounds; each round shows one clip of every class. All of a round's clips are answered from what the
earlier rounds left in memory, and only then are their labels told. So the first round can only be answered by chance
(labels are shuffled, and none has been told), and round k measures the accuracy after k - 1 labelled clips a class.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.features import TemporalAdapter
from training.fewshot.lstm import LSTMCore
from training.fewshot.mann import MANN
from training.params import Memory


class FewShotLearner(nn.Module):
    """Features of an episode `(B, rounds, way, times, F)` and its slots `(B, rounds, way)` -> logits `(B, rounds, way, way)`."""

    def __init__(
        self, features: int, times: int, way: int, embedding: int, memory: Memory | None, classes: int
    ) -> None:
        super().__init__()
        self.way = way
        self.adapter = TemporalAdapter(features, times, embedding)
        self.scale = nn.Parameter(torch.tensor(4.0))  # unit vectors are faint beside labels
        self.class_head = nn.Linear(embedding, classes, bias=False)  # names the training classes; training only
        inputs = embedding + way
        self.core: Any  # MANN or LSTMCore: both step from a state of their own kind to the next
        if memory is None:
            self.core = LSTMCore(inputs, way)
        else:
            self.core = MANN(
                inputs,
                way,
                rows=memory.rows,
                width=memory.width,
                controller=memory.controller,
                heads=memory.heads,
                decay=memory.decay,
            )

    def class_loss(self, embedded: Tensor, classes: Tensor) -> Tensor:
        """Cross entropy of embeddings `(n, E)` against training classes `(n,)`, by cosine."""
        cosine = embedded @ F.normalize(self.class_head.weight, dim=1).T
        return F.cross_entropy(16 * cosine, classes)

    def forward(self, features: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every answer, and the embeddings `(B, rounds, way, E)` that they were made from."""
        batch, rounds, way = slots.shape
        embedded = self.adapter(features.flatten(0, 2)).unflatten(0, (batch, rounds, way))
        seen = self.scale * embedded
        labels = F.one_hot(slots, self.way).to(seen.dtype)
        state = self.core.initial_state(batch)
        answers = []
        for number in range(rounds):
            # Every clip of the round is asked of its own copy of the state, so no question leaves a trace.
            questions = torch.cat([seen[:, number], torch.zeros_like(labels[:, number])], 2).flatten(0, 1)
            copies = type(state)(*(part.repeat_interleave(way, 0) for part in state))
            answers.append(self.core.step(questions, copies)[0].unflatten(0, (batch, way)))
            for clip in range(way):
                _, state = self.core.step(torch.cat([seen[:, number, clip], labels[:, number, clip]], 1), state)
        return torch.stack(answers, 1), embedded
