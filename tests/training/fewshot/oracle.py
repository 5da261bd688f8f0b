"""Recurrent networks in plain NumPy, by loops from their equations, and gradients by differences."""

import numpy as np
import pytest
import torch

ROWS, WIDTH, HEADS, UNITS = 6, 3, 2, 7  # of the memory-augmented network


def values(model):
    """The parameters of a network, copied."""
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def differ(model, total):
    """The gradients of the network's parameters are the differences of `total`, a function of their values."""
    weights, rng = values(model), np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        kept = weights[name]
        direction = rng.normal(size=kept.shape)
        weights[name] = kept + 1e-6 * direction
        above = total(weights)
        weights[name] = kept - 1e-6 * direction
        slope = (above - total(weights)) / 2e-6
        weights[name] = kept
        assert float((parameter.grad.numpy() * direction).sum()) == pytest.approx(float(slope), rel=1e-4, abs=1e-6), (
            name
        )


def softmax(scores):
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def sigmoid(scores):
    return 1 / (1 + np.exp(-scores))


def cell_step(inputs, hidden, cell, weights, names):
    """One LSTM cell by its equations, (B, ...); gates in torch's order: input, forget, candidate, output.

    `names` has a gap for weight_ih, weight_hh, bias_ih and bias_hh.
    """
    gates = inputs @ weights[names.format("weight_ih")].T + weights[names.format("bias_ih")]
    gates = gates + hidden @ weights[names.format("weight_hh")].T + weights[names.format("bias_hh")]
    entry, forget, candidate, out = np.split(gates, 4, axis=-1)
    cell = sigmoid(forget) * cell + sigmoid(entry) * np.tanh(candidate)
    return sigmoid(out) * np.tanh(cell), cell


def mann(weights, inputs, write, decay=0.9, prefix=""):
    """Logits (S, classes), memory and usage of the network of Santoro et al. (2016) after a sequence (S, inputs)."""
    weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    memory, read_weights = np.full((ROWS, WIDTH), 1e-6), np.eye(HEADS, ROWS)
    usage, read = np.zeros(ROWS), np.zeros(HEADS * WIDTH)
    hidden = cell = np.zeros(UNITS)
    logits = []
    for step in inputs:
        hidden, cell = cell_step(np.concatenate([step, read]), hidden, cell, weights, "controller.{}")
        keys = np.tanh(weights["keys.weight"] @ hidden + weights["keys.bias"]).reshape(HEADS, WIDTH)
        alpha = sigmoid(weights["gates.weight"] @ hidden + weights["gates.bias"])
        similarity = np.array(
            [[key @ row / (np.linalg.norm(key) * max(np.linalg.norm(row), 1e-12)) for row in memory] for key in keys]
        )
        after_read = softmax(weights.get("strength", 1.0) * similarity)
        vectors = np.concatenate(
            [sum(after_read[head, row] * memory[row] for row in range(ROWS)) for head in range(HEADS)]
        )
        ranked = torch.from_numpy(usage).topk(HEADS, largest=False).indices.numpy()  # breaks ties as the network does
        memory = memory.copy()
        memory[ranked[0]] = 0
        write_weights = np.zeros((HEADS, ROWS))
        for head in range(HEADS):
            least_used = np.zeros(ROWS)
            least_used[ranked if write == "shared" else ranked[head]] = 1
            write_weights[head] = alpha[head] * read_weights[head] + (1 - alpha[head]) * least_used
            memory = memory + np.outer(write_weights[head], keys[head])
        read_weights, read = after_read, vectors
        usage = decay * usage + read_weights.sum(0) + write_weights.sum(0)
        logits.append(weights["output.weight"] @ np.concatenate([hidden, read]) + weights["output.bias"])
    return np.array(logits), memory, usage
