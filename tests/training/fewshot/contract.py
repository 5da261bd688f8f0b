"""What holds for every head or recurrent network of its kind; the tests of each kind call it."""

from typing import Any

import torch
from torch import Tensor

from training.fewshot.head import Head


def assert_earlier_rounds_are_support(model: Head, embedded: Tensor, labels: Tensor) -> Tensor:
    """Each round is classified with all earlier rounds as support; returns the logits (B, rounds, way, way).

    Args:
        embedded: (B, rounds, way, ...).
        labels: one-hot, (B, rounds, way, way).
    """
    logits = model.rounds(embedded, labels)
    assert logits.shape == labels.shape
    for number in range(embedded.shape[1]):
        support, known = embedded[:, :number].flatten(1, 2), labels[:, :number].flatten(1, 2)
        torch.testing.assert_close(model(support, known, embedded[:, number]), logits[:, number])
    return logits


def assert_order_of_support_does_not_matter(model: Head, embedded: Tensor, labels: Tensor) -> Tensor:
    """The fourth round, classified by the three before it in any order; returns its logits."""
    support, known = embedded[:, :3].flatten(1, 2), labels[:, :3].flatten(1, 2)
    expected: Tensor = model(support, known, embedded[:, 3])
    torch.testing.assert_close(model(support.flip(1), known.flip(1), embedded[:, 3]), expected)
    return expected


def assert_sequence_equals_single_steps(network: Any, inputs: Tensor) -> None:
    """`unroll` of inputs (B, steps, F) gives the logits and the last state of steps taken one by one."""
    state, single = network.initial_state(len(inputs)), []
    for step in inputs.unbind(1):
        logits, state = network(step, state)
        single.append(logits)
    unrolled, after = network.unroll(inputs, network.initial_state(len(inputs)))
    torch.testing.assert_close(unrolled, torch.stack(single, 1))
    torch.testing.assert_close(after, state)
