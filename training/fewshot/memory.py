"""The interface of a few-shot learner's memory: a recurrent network that is run step by step with an explicit state."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

State = tuple[Tensor, ...]
"""Tensors with the batch as their first dimension."""


class SequenceMemory(nn.Module, ABC):
    """A recurrent network: one input (B, inputs) and a state -> logits (B, classes) and the next state."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state before the first step."""

    @abstractmethod
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """One step; `state` is not changed."""
