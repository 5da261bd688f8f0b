"""The models: sizes as published, nothing leaks from what is masked, and the memory works as written."""

import numpy as np
import pytest
import torch
from torch import Generator

from common.errors import ParamError, WorkError
from training.fewshot.mann import MANN
from training.models import MAE, Classifier, create_model, export_pretrained, load_pretrained
from training.models.blocks import Attention
from training.models.masking import frame_mask, random_mask, running_cells, tube_mask
from training.models.spt import shifted_copies
from training.models.tubelets import Grid, cut, cut_some, paste, pick


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def small(**overrides) -> MAE:
    shape = {"num_frames": 8, "dim": 48, "depth": 2, "heads": 3, "decoder_dim": 24, "decoder_depth": 1}
    return create_model("small_2x8x8", **(shape | overrides))


PARAMETERS = {
    "paper_small": (3_109_008, None),  # as the paper counts
    "paper_small_classifier": (2_720_378, None),
    "small_2x8x8": (3_019_200, None),
    "videomae_small": (24_029_376, None),  # these three as transformers counts
    "videomae_base": (94_210_944, None),
    "videomae_large": (342_996_992, None),
    "mae_st_large": (318_429_440, 304_096_256),  # the encoder as published
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_named_models_have_their_number_of_parameters(name):
    with torch.device("meta"):
        model = create_model(name)
    everything, encoder = PARAMETERS[name]
    assert count(model) == everything
    assert encoder in (None, count(model.encoder))


def test_masks_hide_exactly_their_share():
    grid = Grid(16, 224, 2, 16)
    tubes = tube_mask(3, grid, 0.9, Generator().manual_seed(0))
    assert tubes.sum(1).tolist() == [1408] * 3
    by_time = tubes.reshape(3, grid.times, grid.places)
    assert (by_time == by_time[:, :1]).all()
    anywhere = random_mask(3, grid, 0.9, Generator().manual_seed(0))
    assert anywhere.sum(1).tolist() == [round(0.9 * 1568)] * 3


def test_frames_are_masked_whole():
    grid = Grid(16, 64, 2, 16)
    masked = frame_mask(4, grid, 0.75, Generator().manual_seed(0)).reshape(4, grid.times, grid.places)
    assert (masked == masked[..., :1]).all()
    assert masked[..., 0].sum(1).tolist() == [6] * 4


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_running_cells_hide_their_share_of_every_cell_and_move_on(ratio):
    grid = Grid(16, 64, 2, 8)
    hidden = running_cells(6, grid, ratio, Generator().manual_seed(0)).reshape(6, grid.times, grid.side, grid.side)
    cells = hidden.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    assert (cells.sum(-1) == round(4 * ratio)).all()
    assert (cells == cells[:, :, :1, :1]).all()
    assert (cells[:, 1:, 0, 0] != cells[:, :-1, 0, 0]).any(-1).all()
    assert (cells[:, :4, 0, 0].sum(1) == round(4 * ratio)).all()  # in four moments every place has its turn
    assert len({tuple(clip.flatten().tolist()) for clip in cells[:, 0, 0, 0]}) > 1


def test_the_decoder_passes_over_what_running_cells_leave_out():
    model = small().eval()
    grid, generator = model.config.grid, Generator().manual_seed(0)
    mask, skip = tube_mask(2, grid, 0.75, generator), running_cells(2, grid, 0.5, generator)
    skip[1] = skip[0]
    mask[1] = mask[0]
    video = torch.randn(2, 3, 8, 64, 64)
    out = model(video, mask, skip)
    assert out.prediction.shape[1] == int((mask & ~skip)[0].sum())
    with pytest.raises(ValueError, match="hide at least one"):
        model(video, mask, torch.ones_like(mask))


@pytest.mark.parametrize("ratio", [0.1, 0.9])
def test_running_cells_refuse_what_a_cell_cannot_have(ratio):
    with pytest.raises(ValueError, match="hide 1 to 3 of 4"):
        running_cells(1, Grid(8, 64, 2, 8), ratio, Generator())


def test_shifted_patches_worked_by_hand():
    """A picture of 4x4, patches of 2, so shifts by 1: what each copy shows, zeros coming in."""
    picture = torch.arange(1.0, 17).reshape(1, 1, 1, 4, 4)
    _, down_right, down_left, up_right, up_left = shifted_copies(picture, 1)[0, :, 0]
    assert down_right.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11]]
    assert down_left.tolist() == [[0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]
    assert up_right.tolist() == [[0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15], [0, 0, 0, 0]]
    assert up_left.tolist() == [[6, 7, 8, 0], [10, 11, 12, 0], [14, 15, 16, 0], [0, 0, 0, 0]]
    moments = torch.arange(1.0, 4).reshape(1, 1, 3, 1, 1).expand(1, 1, 3, 4, 4)
    later, earlier = shifted_copies(moments, 1, 7)[0, 5:, :, 0, 0]
    assert (later.tolist(), earlier.tolist()) == ([0, 1, 2], [2, 3, 0])


def test_local_attention_worked_by_hand():
    """Three tokens, one head: no token attends to itself, scores are scaled by the learnt temperature."""
    torch.manual_seed(0)
    layer = Attention(4, 1, "none", local=True)
    with torch.no_grad():
        layer.temperature.fill_(0.7)
    tokens = torch.randn(1, 3, 4)
    q, k, v = (tokens[0] @ layer.qkv.weight.T).split(4, 1)
    scores = 0.7 * q @ k.T
    rows = []
    for token in range(3):
        others = [other for other in range(3) if other != token]
        shares = torch.softmax(scores[token, others], 0)
        rows.append(sum(share * v[other] for share, other in zip(shares, others, strict=True)))
    assert torch.allclose(layer(tokens)[0], layer.proj(torch.stack(rows)), atol=1e-6)
    weights = layer.weights(tokens)[0, 0]
    assert torch.allclose(weights.sum(1), torch.ones(3))
    assert weights.diagonal().abs().max() == 0


def test_factorised_attention_stays_in_its_line_and_moment():
    model = small(factorised_attention=True, depth=1).eval()
    video = torch.randn(1, 3, 8, 64, 64, requires_grad=True)
    model.encoder(video)[0][0, 0].sum().backward()  # the first place of the first moment
    seen = cut(video.grad, 2, 8).abs().sum(2).reshape(4, 64) > 0
    assert seen.all()  # time first, then space: after one block everything has been heard of
    mask = tube_mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    assert model(torch.randn(2, 3, 8, 64, 64), mask).loss.isfinite()
    uneven = random_mask(1, model.config.grid, 0.75, Generator().manual_seed(0))
    uneven[0, :] = True
    uneven[0, [0, 1, 2]] = False
    with pytest.raises(ValueError, match="mask tubes"):
        model(torch.randn(1, 3, 8, 64, 64), uneven)


def test_cutting_and_pasting_gives_the_video_back():
    video = torch.arange(2 * 3 * 4 * 16 * 16.0).reshape(2, 3, 4, 16, 16)
    assert torch.equal(paste(cut(video, 2, 8), Grid(4, 16, 2, 8)), video)
    index = torch.tensor([[0, 3, 7], [1, 2, 4]])
    assert torch.equal(cut_some(video, 2, 8, index), pick(cut(video, 2, 8), index))


@pytest.mark.parametrize(
    "tokenizer", [{"tokenizer": "cubes"}, {"tokenizer": "spt"}, {"tokenizer": "spt", "spt_copies": 7}]
)
def test_the_encoder_sees_nothing_of_masked_pixels(tokenizer):
    model = small(**tokenizer)
    video = torch.randn(2, 3, 8, 64, 64, requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.8, Generator().manual_seed(1))
    model.encoder(video, mask)[0].square().sum().backward()
    gradient = cut(video.grad, 2, 8).abs().sum(2)
    assert (gradient[mask] == 0).all()
    assert (gradient[~mask] > 0).all()


def test_without_blanking_shifted_patches_leak():
    model = small(tokenizer="spt", spt_blank=False)
    video = torch.randn(2, 3, 8, 64, 64, requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.8, Generator().manual_seed(1))
    model.encoder(video, mask)[0].square().sum().backward()
    assert (cut(video.grad, 2, 8).abs().sum(2)[mask] > 0).any()


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth_l1"])
@pytest.mark.parametrize("target", ["pixels", "per_channel", "per_patch"])
def test_the_loss_is_that_of_the_masked_tokens(loss, target):
    model = small(loss=loss, target=target).eval()
    video = torch.randn(2, 3, 8, 64, 64)
    mask = random_mask(2, model.config.grid, 0.5, Generator().manual_seed(0))
    out = model(video, mask)
    cubes = cut(video * 0.225 + 0.45 if target == "per_channel" else video, 2, 8)[mask].reshape(2, -1, 384)
    if target == "per_patch":
        cubes = (cubes - cubes.mean(2, keepdim=True)) / (cubes.var(2, keepdim=True) + 1e-6).sqrt()
    elif target == "per_channel":
        colours = cubes.reshape(2, -1, 128, 3)
        colours = (colours - colours.mean(2, keepdim=True)) / (colours.var(2, keepdim=True).sqrt() + 1e-6)
        cubes = colours.reshape(2, -1, 384)
    apart = (out.prediction - cubes).abs()
    wanted = {"mse": apart**2, "l1": apart, "smooth_l1": torch.where(apart < 1, apart**2 / 2, apart - 0.5)}[loss]
    assert out.loss.item() == pytest.approx(wanted.mean().item(), rel=1e-4)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_half_precision_and_compiled_runs_agree_with_plain_ones(backend):
    torch.manual_seed(0)
    model = small().eval()
    video = torch.randn(2, 3, 8, 64, 64)
    mask = random_mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(video, mask)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(video, mask)
        assert half.loss.item() == pytest.approx(plain.loss.item(), rel=2e-2)
        assert (half.prediction.float() - plain.prediction).abs().max() < 0.05 * plain.prediction.abs().max()
        compiled = torch.compile(model, backend=backend)(video, mask)
    assert torch.allclose(compiled.prediction, plain.prediction, atol=1e-5)
    assert compiled.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)


def test_the_prediction_has_one_row_per_masked_token():
    model = small()
    mask = random_mask(2, model.config.grid, 0.75, Generator().manual_seed(1))
    out = model(torch.randn(2, 3, 8, 64, 64), mask)
    assert out.prediction.shape == (2, int(mask[0].sum()), 2 * 8 * 8 * 3)
    assert out.loss.ndim == 0


def test_a_few_clips_can_be_learnt_by_heart():
    torch.manual_seed(0)
    model = small(dim=96, depth=2, decoder_dim=96)
    video = torch.randn(8, 3, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(32, 3).repeat_interleave(32, 4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = Generator().manual_seed(0)
    mask = random_mask(8, model.config.grid, 0.5, generator)
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
    for everything in (torch.ones_like(mask), torch.zeros_like(mask)):
        with pytest.raises(ValueError, match="at least one token visible"):
            model(torch.randn(2, 3, 8, 64, 64), everything)
    video = torch.randn(2, 3, 8, 64, 64)
    video[1, 2, 3, 4, 5] = torch.nan
    with pytest.raises(ValueError, match="no numbers"):
        model(video, mask)
    with pytest.raises(ParamError, match="do not tile"):
        small(image_size=60)


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
