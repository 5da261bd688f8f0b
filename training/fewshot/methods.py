"""The methods that stage 3 compares: an ablation of the pre-training and of the external memory."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.fewshot.learner import FewShotLearner
from training.params import Stage3


@dataclass(frozen=True)
class Method:
    """A row of the ablation.

    Args:
        name: in metrics and checkpoints.
        pretrained: features come from the pre-trained encoder; else from the encoder as initialised.
        external_memory: the learner is a memory-augmented network; else an LSTM.
        trained: the learner is trained; else it stays as initialised.
    """

    name: str
    pretrained: bool
    external_memory: bool
    trained: bool = True

    def build(self, features: Tensor, classes: int, settings: Stage3) -> FewShotLearner:
        """A freshly initialised learner for `features` (N, windows, times, F); the same weights for the same seed."""
        torch.manual_seed(settings.seed)
        times, values = features.shape[2:]
        return FewShotLearner(values, times, classes, settings, external_memory=self.external_memory)


METHODS = (
    Method("mann_pretrained", pretrained=True, external_memory=True),
    Method("mann_scratch", pretrained=False, external_memory=True),
    Method("lstm_pretrained", pretrained=True, external_memory=False),
    Method("untrained", pretrained=False, external_memory=True, trained=False),
)
