"""The memory-augmented network against its equations."""

import numpy as np
import torch

from training.fewshot.mann import MANN


def softmax(values):
    exponents = np.exp(values - values.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def test_two_steps_match_plain_numpy():
    """Written from the equations of Santoro et al. (2016)."""
    torch.manual_seed(0)
    rows, width, heads = 6, 3, 2
    model = MANN(4, 5, rows=rows, width=width, controller=7, heads=heads, decay=0.9).double()
    inputs = torch.randn(1, 2, 4, dtype=torch.float64)
    memory, read_weights = np.full((rows, width), 1e-6), np.eye(heads, rows)
    usage, read = np.zeros(rows), np.zeros(heads * width)
    hidden = cell = torch.zeros(1, 7, dtype=torch.float64)
    expected = []
    for step in range(2):
        joined = torch.cat([inputs[:, step], torch.from_numpy(read)[None]], 1)
        hidden, cell = model.controller(joined, (hidden, cell))
        keys = np.tanh(model.keys(hidden).detach().numpy()).reshape(heads, width)
        gate = 1 / (1 + np.exp(-model.gates(hidden).detach().numpy()[0]))
        least = torch.from_numpy(usage).topk(heads, largest=False).indices.numpy()
        write = np.stack([gate[j] * read_weights[j] + (1 - gate[j]) * np.eye(rows)[least[j]] for j in range(heads)])
        memory[least[0]] = 0
        memory = memory + write.T @ keys
        norms = np.linalg.norm(keys, axis=1)[:, None] * np.maximum(np.linalg.norm(memory, axis=1)[None], 1e-12)
        strength = model.strength.detach().numpy()
        read_weights = softmax(strength * (keys @ memory.T) / norms)
        read = (read_weights @ memory).reshape(-1)
        usage = 0.9 * usage + (read_weights + write).sum(0)
        expected.append(model.output(torch.cat([hidden, torch.from_numpy(read)[None]], 1)).detach().numpy())
    logits, _ = model(inputs)
    np.testing.assert_allclose(logits.detach().numpy()[0], np.concatenate(expected), rtol=1e-6)
