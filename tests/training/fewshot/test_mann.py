"""The memory-augmented network against the NumPy oracle of the equations of Santoro et al. (2016)."""

import numpy as np
import pytest
import torch

from tests.training.fewshot.oracle import HEADS, ROWS, UNITS, WIDTH, differ, mann, values
from training.fewshot.mann import MANN


def network(**changes):
    torch.manual_seed(0)
    shape = {"rows": ROWS, "width": WIDTH, "controller": UNITS, "heads": HEADS, "decay": 0.9, "key_strength": 10.0}
    return MANN(4, 5, **(shape | changes)).double()


def run(model, inputs, state=None):
    """Logits (B, S, classes) of a sequence (B, S, inputs), and the state after it."""
    state = model.initial_state(len(inputs)) if state is None else state
    logits = []
    for step in inputs.unbind(1):
        out, state = model(step, state)
        logits.append(out)
    return torch.stack(logits, 1), state


VARIANTS = pytest.mark.parametrize(
    ("write", "softmax"),
    [("shared", "sharpened"), ("per_head", "sharpened"), ("shared", "plain"), ("per_head", "plain")],
)


@VARIANTS
def test_steps_follow_the_equations(write, softmax):
    model = network(write=write, softmax=softmax)
    inputs = torch.randn(1, 7, 4, dtype=torch.float64)
    weights = values(model)
    assert ("strength" in weights) == (softmax == "sharpened")
    expected, memory, usage = mann(weights, inputs[0].numpy(), write)
    logits, state = run(model, inputs)
    np.testing.assert_allclose(logits.detach().numpy()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(state.memory.detach().numpy()[0], memory, rtol=1e-6)
    np.testing.assert_allclose(state.usage.detach().numpy()[0], usage, rtol=1e-6)


@VARIANTS
def test_gradients_are_the_differences_of_the_equations(write, softmax):
    model = network(write=write, softmax=softmax)
    inputs = torch.randn(1, 5, 4, dtype=torch.float64)
    factors = torch.randn(5, 5, dtype=torch.float64)
    (run(model, inputs)[0][0] * factors).sum().backward()
    differ(model, lambda weights: (mann(weights, inputs[0].numpy(), write)[0] * factors.numpy()).sum())


@VARIANTS
def test_predictions_without_copies_of_the_memory_are_those_of_single_steps(write, softmax):
    model = network(write=write, softmax=softmax)
    _, state = run(model, torch.randn(3, 4, 4, dtype=torch.float64))
    queries = torch.randn(3, 5, 4, dtype=torch.float64)
    single = torch.stack([model(queries[:, number], state)[0] for number in range(5)], 1)
    torch.testing.assert_close(model.predict(queries, state), single)


def test_a_step_reads_the_memory_as_it_was_before_its_own_write():
    model = network()
    _, state = run(model, torch.randn(1, 3, 4, dtype=torch.float64))
    with torch.no_grad():
        logits = model(torch.ones(1, 4, dtype=torch.float64), state)[0]
        model.gates.bias.add_(3.0)  # changes the write alone
        assert torch.equal(model(torch.ones(1, 4, dtype=torch.float64), state)[0], logits)


def test_the_first_state_is_an_unwritten_memory_that_head_j_reads_at_row_j():
    state = network().initial_state(3)
    assert state.memory.shape == (3, ROWS, WIDTH)
    assert (state.memory == 1e-6).all()
    assert state.read_weights.argmax(2).tolist() == [[0, 1]] * 3
    assert state.read_weights.sum() == 3 * HEADS
    assert not state.usage.any()
    assert not state.hidden.any()
    assert state.read.shape == (3, HEADS * WIDTH)


def closed_gates(model):
    """Writes go to the least-used rows only."""
    torch.nn.init.zeros_(model.gates.weight)
    torch.nn.init.constant_(model.gates.bias, -50.0)


@pytest.mark.parametrize("write", ["shared", "per_head"])
def test_keys_are_written_to_the_least_used_rows_and_only_the_least_used_is_erased(write):
    model = network(write=write)
    closed_gates(model)
    state = model.initial_state(1)
    usage = torch.tensor([[0.5, 0.1, 0.9, 0.2, 0.8, 0.7]], dtype=torch.float64)
    old = torch.arange(18, dtype=torch.float64).reshape(1, 6, 3)
    _, after = model(torch.randn(1, 4, dtype=torch.float64), state._replace(usage=usage, memory=old))
    assert ((after.memory - old)[0].norm(dim=1) > 1e-6).nonzero()[:, 0].tolist() == [1, 3]
    first, second = after.memory[0, 1], after.memory[0, 3] - old[0, 3]  # the row of the least usage was erased
    assert torch.allclose(first, second) == (write == "shared")  # every head writes to both rows, or one to each


def test_a_key_is_read_from_the_row_that_it_was_written_to_the_step_before():
    model = network(write="per_head")
    closed_gates(model)
    torch.nn.init.zeros_(model.controller.weight_hh)
    inputs = torch.randn(1, 4, dtype=torch.float64)
    first = model.initial_state(1)
    _, state = model(inputs, first)
    _, after = model(
        inputs, state._replace(read=first.read, hidden=first.hidden, cell=first.cell)
    )  # the same keys again
    written = (state.memory[0].norm(dim=1) > 0.01).nonzero()[:, 0].tolist()
    assert len(written) == HEADS
    assert sorted(after.read_weights[0].argmax(1).tolist()) == written


def test_an_open_gate_writes_to_the_rows_read_last():
    model = network()
    torch.nn.init.zeros_(model.gates.weight)
    torch.nn.init.constant_(model.gates.bias, 50.0)
    state = model.initial_state(1)
    reads = torch.eye(6, dtype=torch.float64)[[4, 2]][None]
    usage = torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    _, after = model(torch.randn(1, 4, dtype=torch.float64), state._replace(usage=usage, read_weights=reads))
    assert (after.memory[0].norm(dim=1) > 0.01).nonzero()[:, 0].tolist() == [2, 4]


def test_usage_decays_and_grows_by_read_and_write_weights():
    model = network(decay=0.5, write="per_head")
    state = model.initial_state(2)._replace(usage=torch.full((2, ROWS), 4.0, dtype=torch.float64))
    _, after = model(torch.randn(2, 4, dtype=torch.float64), state)
    assert after.usage.sum(1).tolist() == pytest.approx([0.5 * 4 * ROWS + 2 * HEADS] * 2)
    assert after.read_weights.sum(2).flatten().tolist() == pytest.approx([1.0] * 4)


def test_read_vectors_are_an_input_of_the_next_step():
    model = network()
    inputs = torch.randn(1, 4, dtype=torch.float64)
    state = model.initial_state(1)
    other = state._replace(read=torch.ones_like(state.read))
    assert not torch.allclose(model(inputs, state)[1].hidden, model(inputs, other)[1].hidden)


def test_sequences_of_a_batch_do_not_affect_each_other():
    model, inputs = network(), torch.randn(3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(run(model, inputs)[0][1:2], run(model, inputs[1:2])[0])


def test_a_step_does_not_change_the_state_it_starts_from():
    model = network()
    _, state = run(model, torch.randn(2, 3, 4, dtype=torch.float64))
    before = [part.clone() for part in state]
    model(torch.randn(2, 4, dtype=torch.float64), state)
    assert all(torch.equal(part, old) for part, old in zip(state, before, strict=True))


def test_gradients_reach_every_parameter():
    model = network()
    run(model, torch.randn(2, 3, 4, dtype=torch.float64))[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_key_strength_starts_where_it_is_set():
    assert network(key_strength=3.5).strength.tolist() == [[3.5], [3.5]]


def test_more_heads_than_rows_are_an_error():
    with pytest.raises(ValueError, match="heads is 7: must be at most rows, 6"):
        network(heads=7)
