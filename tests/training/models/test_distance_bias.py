"""The bias on attention scores by the distance between tokens."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.training.models.tiny import autoencoder, random_video, randomise
from training.models.blocks import Attention
from training.models.masking import Masking, running_cells
from training.models.positions import DistanceBias
from training.models.tubelets import Grid

GRID = Grid(num_frames=4, image_size=16, tubelet=2, patch=8)  # 2 time patches of 2x2


def test_scores_fall_by_slope_times_distance():
    bias = DistanceBias(GRID, 3)()
    assert bias.shape == (1, 3, 8, 8)
    places = [(token // 4, token % 4 // 2, token % 2) for token in range(8)]
    for head, (space, time) in enumerate([(4.0, 0.5), (4 / 32**0.5, 0.125), (0.125, 0.03125)]):
        for i, (t, y, x) in enumerate(places):
            for j, (t2, y2, x2) in enumerate(places):
                expected = -space * math.hypot(y - y2, x - x2) - time * abs(t - t2)
                assert float(bias[0, head, i, j]) == pytest.approx(expected, rel=1e-5)


def test_the_bias_of_some_tokens_is_a_part_of_that_of_all():
    layer = DistanceBias(GRID, 2)
    index = torch.tensor([[0, 3, 5], [7, 2, 1]])
    for clip, chosen in enumerate(index):
        assert torch.equal(layer(index)[clip], layer()[0][:, chosen][:, :, chosen])


def test_the_bias_is_not_saved():
    assert DistanceBias(GRID, 2).state_dict() == {}


def test_attention_adds_the_bias_to_its_scores():
    layer = Attention(24, 2, "full")
    tokens, bias = torch.randn(3, 8, 24), DistanceBias(GRID, 2)()
    q, k, v = layer.qkv(tokens).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
    shares = (q @ k.transpose(2, 3) / 12**0.5 + bias).softmax(3)
    torch.testing.assert_close(layer(tokens, None, bias), layer.proj((shares @ v).transpose(1, 2).flatten(2)))
    torch.testing.assert_close(layer.weights(tokens, None, bias), shares)


def in_sequence(decoder, hidden, numbers):
    """The decoder's blocks on tokens in the order given, each pair with its own bias."""
    for block in decoder.blocks:
        hidden = block(hidden, None, decoder.distance(numbers))
    return hidden


@pytest.mark.parametrize("masking", [Masking("random", 0.75), Masking("random", 0.75, 0.5)], ids=["all", "some"])
def test_the_decoder_s_tokens_keep_their_distances_in_any_order(monkeypatch, masking):
    model = autoencoder(distance_bias="both").eval()
    randomise(model)
    generator = torch.Generator().manual_seed(0)
    mask = masking(2, model.config.grid, generator)
    decoder_mask = masking.decoder_mask(2, model.config.grid, generator)
    found = model(random_video(), mask, decoder_mask)
    decoder = model.decoder
    monkeypatch.setattr(decoder, "_by_distance", lambda hidden, numbers: in_sequence(decoder, hidden, numbers))
    torch.testing.assert_close(model(random_video(), mask, decoder_mask).prediction, found.prediction)


def test_the_encoder_sees_the_distances_of_visible_tokens():
    model = autoencoder(distance_bias="both").eval()
    mask = Masking("random", 0.5)(2, model.config.grid, torch.Generator().manual_seed(0))
    split = model.encoder.split_tokens(random_video(), mask)
    tokens, _ = model.encoder(random_video(), split)
    model.encoder.distance.slopes.zero_()
    assert not torch.allclose(model.encoder(random_video(), split)[0], tokens, atol=1e-3)


def test_near_tokens_have_more_attention_before_training():
    model = autoencoder(distance_bias="both").eval()
    attention = model.encoder.attention_map(random_video(), layer=0).mean((0, 1))
    space = model.encoder.distance.space
    assert attention[space == 1].mean() > 1.5 * attention[space > 4].mean()


def test_without_slopes_the_model_is_the_one_without_bias():
    torch.manual_seed(0)
    plain = autoencoder().eval()
    model = autoencoder(distance_bias="both").eval()
    model.load_state_dict(plain.state_dict())
    for part in (model.encoder, model.decoder):
        part.distance.slopes.zero_()
    mask = running_cells(2, model.config.grid, 0.5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(random_video(), mask).loss, plain(random_video(), mask).loss)


def test_a_static_scene_is_learned_in_fewer_steps():
    """Clips that are constant over time: the bias makes the visible tokens of a place those that predict it."""
    losses = {}
    for bias in ("none", "decoder"):
        torch.manual_seed(0)
        model = autoencoder(distance_bias=bias, dim=96, heads=4, decoder_dim=96, decoder_heads=4)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(60):
            colours = torch.randn(8, 3, 1, 4, 4, generator=generator)
            video = F.interpolate(colours, (8, 64, 64))
            mask = Masking("random", 0.75)(8, model.config.grid, generator)
            loss = model(video, mask).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[bias] = float(loss.detach())
    assert losses["decoder"] < 0.8 * losses["none"]
