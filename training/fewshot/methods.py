"""The methods that stage 3 compares: an ablation of the pre-training and of the external memory."""

from dataclasses import dataclass

import torch

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

    def build(self, shape: tuple[int, int], classes: int, settings: Stage3) -> FewShotLearner:
        """A freshly initialised learner, the same weights for the same seed.

        Args:
            shape: of a clip's features, (times, F).
            classes: number of training classes.
            settings: of the learner.
        """
        torch.manual_seed(settings.seed)
        times, features = shape
        return FewShotLearner(features, times, classes, settings, external_memory=self.external_memory)


METHODS = (
    Method("mann_pretrained", pretrained=True, external_memory=True),
    Method("mann_scratch", pretrained=False, external_memory=True),
    Method("lstm_pretrained", pretrained=True, external_memory=False),
    Method("untrained", pretrained=False, external_memory=True, trained=False),
)
