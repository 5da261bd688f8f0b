"""Almost no inner loop (ANIL: Raghu et al. 2020, arXiv 1909.09157): MAML that adapts the last layer alone."""

from torch import nn

from training.fewshot.maml import MAMLHead


class ANILHead(MAMLHead):
    """The two layers of `MAMLHead`, of which the first is the same in all episodes; arguments are the same."""

    @staticmethod
    def _split(first: nn.Linear, activation: nn.Module, second: nn.Linear) -> tuple[nn.Module, nn.Module]:
        return nn.Sequential(first, activation), second
