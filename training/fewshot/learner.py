"""A few-shot learner: embed each clip, predict its episode label from memory, then write it with its label to memory.

The clips of a round are predicted from the memory that earlier rounds have left, and only then written. So predictions of
the first round are at chance, and those of round k measure accuracy after k - 1 labelled clips per class.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.fewshot.adapter import TemporalAdapter
from training.fewshot.lstm import LSTMMemory
from training.fewshot.mann import MANN
from training.fewshot.memory import SequenceMemory
from training.params import Stage3


class FewShotLearner(nn.Module):
    """Features and episode labels of a batch of episodes -> logits of every clip.

    Args:
        features: values of a clip's features at each time patch.
        times: time patches.
        classes: training classes, for `class_loss`.
        settings: of the network.
        external_memory: a memory-augmented network; else an LSTM.
    """

    def __init__(self, features: int, times: int, classes: int, settings: Stage3, *, external_memory: bool) -> None:
        super().__init__()
        adapter, memory = settings.adapter, settings.memory
        self.way, self.class_scale = settings.way, settings.class_scale
        self.adapter = TemporalAdapter(features, times, settings.embedding, width=adapter.width, hidden=adapter.hidden)
        self.scale = nn.Parameter(torch.tensor(settings.embedding_scale))
        self.class_head = nn.Linear(settings.embedding, classes, bias=False)
        inputs = settings.embedding + settings.way
        self.memory: SequenceMemory
        if external_memory:
            self.memory = MANN(
                inputs,
                settings.way,
                rows=memory.rows,
                width=memory.width,
                controller=memory.controller,
                heads=memory.heads,
                decay=memory.decay,
                key_strength=memory.key_strength,
            )
        else:
            self.memory = LSTMMemory(inputs, settings.way, controller=memory.controller)

    def class_loss(self, embedded: Tensor, classes: Tensor) -> Tensor:
        """Cross entropy of embeddings (n, E) against training classes (n,), by scaled cosine similarity."""
        cosine = embedded @ F.normalize(self.class_head.weight, dim=1).T
        return F.cross_entropy(self.class_scale * cosine, classes)

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Run the episodes round by round.

        Args:
            features: (B, rounds, way, times, F).
            labels: episode labels, (B, rounds, way).

        Returns:
            Logits (B, rounds, way, way), and the clips' embeddings (B, rounds, way, E).
        """
        embedded = self.adapter(features.flatten(0, 2)).unflatten(0, labels.shape)
        return self.predict(embedded, F.one_hot(labels, self.way).to(embedded.dtype)), embedded

    def predict(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, rounds, way, way) from embeddings (B, rounds, way, E) and one-hot labels (B, rounds, way, way)."""
        batch, rounds, way = embedded.shape[:3]
        inputs = self.scale * embedded
        support = torch.cat([inputs, labels], 3)
        queries = torch.cat([inputs, torch.zeros_like(labels)], 3)
        state = self.memory.initial_state(batch)
        logits = []
        for number in range(rounds):
            # Each query gets its own copy of the state and its next state is dropped: queries do not affect each other.
            copies = tuple(part.repeat_interleave(way, 0) for part in state)
            predicted, _ = self.memory(queries[:, number].flatten(0, 1), copies)
            logits.append(predicted.unflatten(0, (batch, way)))
            for clip in range(way):
                _, state = self.memory(support[:, number, clip], state)
        return torch.stack(logits, 1)
