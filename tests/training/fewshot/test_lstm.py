"""The LSTM baseline against plain NumPy."""

import numpy as np
import torch

from tests.training.fewshot.oracle import cell_step, values
from training.fewshot.lstm import LSTMMemory


def network():
    torch.manual_seed(0)
    return LSTMMemory(4, 3, units=5, layers=2).double()


def test_steps_follow_the_equations_of_two_stacked_cells():
    model = network()
    weights = values(model)
    inputs = torch.randn(2, 6, 4, dtype=torch.float64)
    state = model.initial_state(2)
    hidden = cell = upper_hidden = upper_cell = np.zeros((2, 5))
    for step in range(6):
        logits, state = model(inputs[:, step], state)
        hidden, cell = cell_step(inputs[:, step].numpy(), hidden, cell, weights, "lstm.{}_l0")
        upper_hidden, upper_cell = cell_step(hidden, upper_hidden, upper_cell, weights, "lstm.{}_l1")
        mean, variance = upper_hidden.mean(1, keepdims=True), upper_hidden.var(1, keepdims=True)
        normed = (upper_hidden - mean) / np.sqrt(variance + 1e-5)
        expected = normed @ weights["output.weight"].T + weights["output.bias"]
        np.testing.assert_allclose(logits.detach(), expected, rtol=1e-6)
        np.testing.assert_allclose(state[1].detach(), np.concatenate([cell, upper_cell], 1), rtol=1e-9)


def test_a_sequence_in_one_call_leaves_the_state_of_single_steps():
    model, inputs = network(), torch.randn(2, 6, 4, dtype=torch.float64)
    state = model.initial_state(2)
    for step in inputs.unbind(1):
        _, state = model(step, state)
    for part, expected in zip(model.run(inputs, model.initial_state(2)), state, strict=True):
        torch.testing.assert_close(part, expected)


def test_predictions_from_one_state_are_those_of_single_steps():
    model, inputs = network(), torch.randn(2, 3, 4, dtype=torch.float64)
    state = model.run(torch.randn(2, 6, 4, dtype=torch.float64), model.initial_state(2))
    single = torch.stack([model(inputs[:, number], state)[0] for number in range(3)], 1)
    torch.testing.assert_close(model.predict(inputs, state), single)


def test_the_first_state_is_zero():
    assert all(part.shape == (2, 10) and not part.any() for part in network().initial_state(2))


def test_forget_gates_start_open_and_recurrent_matrices_orthogonal():
    weights = dict(network().lstm.named_parameters())
    assert weights["bias_ih_l1"].tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    for gate in weights["weight_hh_l0"].chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(5, dtype=torch.float64), atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter():
    model = network()
    state = model.run(torch.randn(2, 4, 4, dtype=torch.float64), model.initial_state(2))
    model.predict(torch.randn(2, 3, 4, dtype=torch.float64), state).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
