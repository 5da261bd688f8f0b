"""The baseline without external memory: stacked LSTMs over the same episodes, as in the authors' own code."""

import torch
from torch import Tensor, nn


class LSTMState(tuple[Tensor, Tensor]):
    """Hidden and cell state, each (layers, B, controller)."""
