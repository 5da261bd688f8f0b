"""The LSTM baseline against plain NumPy."""

import numpy as np
import torch

from training.fewshot.lstm import LSTMMemory


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def cell_step(inputs, hidden, cell, weights, name):
    """One LSTM cell by its equations; gates in torch's order: input, forget, candidate, output."""
    gates = inputs @ weights[f"{name}.weight_ih"].T + weights[f"{name}.bias_ih"]
    gates = gates + hidden @ weights[f"{name}.weight_hh"].T + weights[f"{name}.bias_hh"]
    entry, forget, candidate, out = np.split(gates, 4, axis=1)
    cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(candidate)
    return sigmoid(out) * np.tanh(cell), cell


def test_steps_follow_the_equations_of_two_stacked_cells():
    torch.manual_seed(0)
    model = LSTMMemory(4, 3, controller=5).double()
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    inputs = torch.randn(2, 6, 4, dtype=torch.float64)
    state = model.initial_state(2)
    hidden = cell = upper_hidden = upper_cell = np.zeros((2, 5))
    for step in range(6):
        logits, state = model(inputs[:, step], state)
        hidden, cell = cell_step(inputs[:, step].numpy(), hidden, cell, weights, "lower")
        upper_hidden, upper_cell = cell_step(hidden, upper_hidden, upper_cell, weights, "upper")
        expected = upper_hidden @ weights["output.weight"].T + weights["output.bias"]
        np.testing.assert_allclose(logits.detach(), expected, rtol=1e-9)
        np.testing.assert_allclose(state.cell.detach(), cell, rtol=1e-9)


def test_the_first_state_is_zero():
    state = LSTMMemory(4, 3, controller=5).initial_state(2)
    assert all(part.shape == (2, 5) and not part.any() for part in state)


def test_a_step_does_not_change_the_state_it_starts_from():
    model = LSTMMemory(4, 3, controller=5)
    _, state = model(torch.randn(2, 4), model.initial_state(2))
    before = [part.clone() for part in state]
    model(torch.randn(2, 4), state)
    assert all(torch.equal(part, old) for part, old in zip(state, before, strict=True))
