"""The models: sizes as published, nothing leaks from what is masked, and the memory works as written."""

import numpy as np
import pytest
import torch
from torch import Generator

from common.errors import ParamError, WorkError
from training.models import MAE, Classifier, create_model, export_pretrained, load_pretrained
from training.models.cubes import Grid, cut, paste
from training.models.mann import MANN
from training.models.masking import random_mask, tube_mask


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def small(**overrides) -> MAE:
    shape = {"num_frames": 8, "dim": 48, "depth": 2, "heads": 3, "decoder_dim": 24, "decoder_depth": 1}
    return create_model("small_2x8x8", **(shape | overrides))


@pytest.mark.parametrize(("name", "parameters"), [("paper_small", 3_109_008), ("paper_small_classifier", 2_720_378)])
def test_the_papers_models_have_its_number_of_parameters(name, parameters):
    assert count(create_model(name)) == parameters


def test_masks_hide_exactly_their_share():
    grid = Grid(16, 224, 2, 16)
    tubes = tube_mask(3, grid, 0.9, Generator().manual_seed(0))
    assert tubes.sum(1).tolist() == [1408] * 3
    by_time = tubes.reshape(3, grid.times, grid.places)
    assert (by_time == by_time[:, :1]).all()
    anywhere = random_mask(3, grid, 0.9, Generator().manual_seed(0))
    assert anywhere.sum(1).tolist() == [round(0.9 * 1568)] * 3


def test_cutting_and_pasting_gives_the_video_back():
    video = torch.arange(2 * 3 * 4 * 16 * 16.0).reshape(2, 3, 4, 16, 16)
    assert torch.equal(paste(cut(video, 2, 8), Grid(4, 16, 2, 8)), video)


@pytest.mark.parametrize("tokenizer", ["cubes", "spt"])
def test_the_encoder_sees_nothing_of_masked_pixels(tokenizer):
    model = small(tokenizer=tokenizer)
    video = torch.randn(2, 3, 8, 64, 64, requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.8, Generator().manual_seed(1))
    model.encoder(video, mask)[0].square().sum().backward()
    gradient = cut(video.grad, 2, 8).abs().sum(2)
    assert (gradient[mask] == 0).all()
    assert (gradient[~mask] > 0).all()


def test_the_prediction_has_one_row_per_masked_token():
    model = small()
    mask = random_mask(2, model.config.grid, 0.75, Generator().manual_seed(1))
    out = model(torch.randn(2, 3, 8, 64, 64), mask)
    assert out.prediction.shape == (2, int(mask[0].sum()), 2 * 8 * 8 * 3)
    assert out.loss.ndim == 0


def test_a_few_clips_can_be_learnt_by_heart():
    torch.manual_seed(0)
    model = small(dim=96, depth=2, decoder_dim=96)
    video = torch.randn(4, 3, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(32, 3).repeat_interleave(32, 4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = Generator().manual_seed(0)
    mask = random_mask(4, model.config.grid, 0.5, generator)
    losses = []
    for _ in range(100):
        loss = model(video, mask).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


def test_uneven_masks_and_wrong_shapes_are_refused():
    model = small()
    mask = random_mask(2, model.config.grid, 0.5, Generator())
    uneven = mask.clone()
    uneven[0, mask[0].nonzero()[0]] = False
    with pytest.raises(ValueError, match="same number"):
        model(torch.randn(2, 3, 8, 64, 64), uneven)
    with pytest.raises(ValueError, match="shape"):
        model(torch.randn(2, 3, 8, 64, 64), mask[:, :5])


def test_unknown_models_and_misfits_are_named():
    with pytest.raises(ParamError, match="paper_small"):
        create_model("paper_smal")
    with pytest.raises(ParamError, match="num_frame "):
        create_model("small_2x8x8", num_frame=3)
    with pytest.raises(ParamError, match="heads"):
        create_model("small_2x8x8", heads=5)


def test_weights_come_back_as_they_were_saved_and_misfits_are_named(tmp_path):
    path = tmp_path / "model.pt"
    model = small()
    export_pretrained(model, path)
    torch.manual_seed(9)
    other = load_pretrained(small(), path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    with pytest.raises(WorkError, match=r"blocks\.2"):
        load_pretrained(small(depth=3), path)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"model": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(WorkError):
        load_pretrained(small(), tmp_path / "bomb.pt")
    assert not (tmp_path / "ran").exists()


def test_a_classifier_gives_one_logit_per_class():
    model = create_model("small_2x8x8", num_frames=8, classes=26, dim=48, depth=1, heads=3)
    assert isinstance(model, Classifier)
    assert model(torch.randn(2, 3, 8, 64, 64)).shape == (2, 26)


def softmax(values):
    exponents = np.exp(values - values.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def test_the_memory_follows_its_equations():
    """Two steps against plain NumPy, written from the equations of Santoro et al. (2016)."""
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
