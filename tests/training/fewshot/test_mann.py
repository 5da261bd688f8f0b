"""The memory-augmented network against plain NumPy, written from the equations of Santoro et al. (2016)."""

import numpy as np
import pytest
import torch

from training.fewshot.mann import MANN

ROWS, WIDTH, HEADS, UNITS = 6, 3, 2, 7


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


def softmax(values):
    exponents = np.exp(values - values.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def test_steps_follow_the_equations():
    model = network()
    inputs = torch.randn(1, 5, 4, dtype=torch.float64)
    memory, read_weights = np.full((ROWS, WIDTH), 1e-6), np.eye(HEADS, ROWS)
    usage, read = np.zeros(ROWS), np.zeros(HEADS * WIDTH)
    hidden = cell = torch.zeros(1, UNITS, dtype=torch.float64)
    expected = []
    for step in range(5):
        joined = torch.cat([inputs[:, step], torch.from_numpy(read)[None]], 1)
        hidden, cell = model.controller(joined, (hidden, cell))
        keys = np.tanh(model.keys(hidden).detach().numpy()).reshape(HEADS, WIDTH)
        gate = 1 / (1 + np.exp(-model.gates(hidden).detach().numpy()[0]))
        least = torch.from_numpy(usage).topk(HEADS, largest=False).indices.numpy()
        write = np.stack([gate[j] * read_weights[j] + (1 - gate[j]) * np.eye(ROWS)[least[j]] for j in range(HEADS)])
        memory[least[0]] = 0
        memory = memory + write.T @ keys
        norms = np.linalg.norm(keys, axis=1)[:, None] * np.maximum(np.linalg.norm(memory, axis=1)[None], 1e-12)
        strength = model.strength.detach().numpy()
        read_weights = softmax(strength * (keys @ memory.T) / norms)
        read = (read_weights @ memory).reshape(-1)
        usage = 0.9 * usage + (read_weights + write).sum(0)
        expected.append(model.output(torch.cat([hidden, torch.from_numpy(read)[None]], 1)).detach().numpy())
    logits, state = run(model, inputs)
    np.testing.assert_allclose(logits.detach().numpy()[0], np.concatenate(expected), rtol=1e-6)
    np.testing.assert_allclose(state.memory.detach().numpy()[0], memory, rtol=1e-6)
    np.testing.assert_allclose(state.usage.detach().numpy()[0], usage, rtol=1e-6)


def test_the_first_state_is_an_unwritten_memory_that_head_j_reads_at_row_j():
    state = network().initial_state(3)
    assert state.memory.shape == (3, ROWS, WIDTH)
    assert (state.memory == 1e-6).all()
    assert state.read_weights.argmax(2).tolist() == [[0, 1]] * 3
    assert state.read_weights.sum() == 3 * HEADS
    assert not state.usage.any()
    assert not state.hidden.any()
    assert state.read.shape == (3, HEADS * WIDTH)


def test_a_key_that_was_written_is_read_back_by_the_same_key():
    model = network()
    for gate in (model.gates.weight, model.gates.bias):
        torch.nn.init.zeros_(gate)
    torch.nn.init.constant_(model.gates.bias, -50.0)  # writes go to the least-used rows only
    _, state = model(torch.randn(1, 4, dtype=torch.float64), model.initial_state(1))
    written = state.memory[0].norm(dim=1) > 0.01
    assert written.sum() == HEADS
    assert set(state.read_weights[0].argmax(1).tolist()) == set(written.nonzero()[:, 0].tolist())


def test_heads_write_to_the_least_used_rows_and_only_the_least_used_is_erased():
    model = network()
    torch.nn.init.zeros_(model.gates.weight)
    torch.nn.init.constant_(model.gates.bias, -50.0)
    state = model.initial_state(1)
    usage = torch.tensor([[0.5, 0.1, 0.9, 0.2, 0.8, 0.7]], dtype=torch.float64)
    old = torch.arange(18, dtype=torch.float64).reshape(1, 6, 3)
    _, after = model(torch.randn(1, 4, dtype=torch.float64), state._replace(usage=usage, memory=old))
    change = (after.memory - old)[0]
    assert (change.norm(dim=1) > 1e-6).nonzero()[:, 0].tolist() == [1, 3]
    assert after.memory[0, 1].abs().max() <= 1  # a key alone: the old row is erased
    assert after.memory[0, 3].max() > 9  # a key added to the old row


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
    model = network(decay=0.5)
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
