"""The encoder: which tokens it sees, in which order, and with which positions."""

import pytest
import torch
from torch import Generator

from tests.training.models.tiny import autoencoder, random_video, randomise
from training.models.encoder import Encoder
from training.models.masking import frame_mask, random_mask, tube_mask
from training.models.tubelets import gather_tokens, patchify


def encoder(**overrides: object) -> Encoder:
    model = autoencoder(**overrides).encoder.eval()
    randomise(model)
    return model


def random_split(model: Encoder, ratio: float = 0.75, seed: int = 1):
    mask = random_mask(2, model.config.grid, ratio, Generator().manual_seed(seed))
    return model.split_tokens(random_video(), mask)


def test_all_tokens_come_out_without_a_split_and_visible_ones_with_it():
    model = encoder()
    assert model(random_video())[0].shape == (2, 256, 48)
    assert model(random_video(), random_split(model))[0].shape == (2, 64, 48)


def test_visible_tokens_have_the_positions_they_have_in_the_whole_video():
    model = encoder()
    split = random_split(model)
    whole, part = model.hidden_states(random_video())[0], model.hidden_states(random_video(), split)[0]
    assert torch.allclose(part, gather_tokens(whole, split.visible), atol=1e-6)


def test_positions_are_added_before_the_first_block():
    model = encoder()
    without = model.embed(random_video())
    assert torch.allclose(model.hidden_states(random_video())[0], without + model.positions(), atol=1e-6)


@pytest.mark.parametrize("class_token", [False, True])
def test_hidden_states_are_the_input_and_the_output_of_every_block(class_token):
    model = encoder(class_token=class_token, depth=3)
    states = model.hidden_states(random_video())
    assert len(states) == 4
    for block, before, after in zip(model.blocks, states, states[1:], strict=False):
        assert torch.equal(block(before), after)
    tokens, first = model(random_video())
    normalised = model.norm(states[-1])
    if class_token:
        assert torch.equal(first, normalised[:, 0])
        assert torch.equal(tokens, normalised[:, 1:])
    else:
        assert first is None
        assert torch.equal(tokens, normalised)


def test_class_token_comes_first_with_its_position():
    model = encoder(class_token=True, class_position=True)
    first = model.hidden_states(random_video())[0][:, 0]
    assert torch.allclose(first, (model.class_token + model.class_position).expand(2, -1))
    assert model(random_video(), random_split(model))[0].shape == (2, 64, 48)


def test_encoder_has_exactly_zero_gradient_at_masked_pixels():
    model, video = encoder(), random_video(requires_grad=True)
    mask = random_mask(2, model.config.grid, 0.8, Generator().manual_seed(1))
    model(video, model.split_tokens(video, mask))[0].square().sum().backward()
    gradient = patchify(video.grad, 2, 8).abs().sum(2)
    assert (gradient[mask] == 0).all()
    assert (gradient[~mask] > 0).all()


def test_clips_of_a_batch_do_not_influence_each_other():
    model, split = encoder(), random_split(encoder())
    both = model(random_video(), split)[0]
    other = random_video()
    other[1] = 0
    assert torch.allclose(model(other, split)[0][0], both[0], atol=1e-6)


def test_last_norm_can_be_left_out():
    model = encoder(final_norm=False)
    assert torch.equal(model(random_video())[0], model.hidden_states(random_video())[-1])


def test_stochastic_depth_grows_linearly_to_the_last_block():
    model = autoencoder(depth=5, drop_path=0.4).encoder
    assert [block.drop_path.drop_prob for block in model.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


# Attention maps


@pytest.mark.parametrize("class_token", [False, True])
def test_attention_map_has_a_row_of_weights_for_every_token(class_token):
    model = encoder(class_token=class_token)
    count = 256 + class_token
    for layer in (0, 1, -1):
        found = model.attention_map(random_video(), layer)
        assert found.shape == (2, 3, count, count)
        assert torch.allclose(found.sum(3), torch.ones(2, 3, count), atol=1e-5)
    assert torch.equal(model.attention_map(random_video(), -1), model.attention_map(random_video(), 1))
    assert not torch.equal(model.attention_map(random_video(), 0), model.attention_map(random_video(), 1))


def test_attention_map_of_factorised_attention_is_an_error():
    with pytest.raises(ValueError, match="no map over all pairs"):
        encoder(factorised_attention=True).attention_map(random_video())


# Factorised attention


def test_factorised_encoder_takes_tube_masks():
    model = encoder(factorised_attention=True)
    mask = tube_mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    assert model(random_video(), model.split_tokens(random_video(), mask))[0].shape == (2, 64, 48)


def test_factorised_encoder_attends_along_time_before_space():
    """With its space attention and MLP switched off, a token is influenced by its own space patch only."""
    model, video = encoder(factorised_attention=True, depth=1, final_norm=False), random_video(requires_grad=True)
    block = model.blocks[0]
    with torch.no_grad():
        for layer in (block.space.attn.proj, block.space.mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    model(video)[0][:, 64 + 9].sum().backward()  # time patch 1, space patch 9
    influence = patchify(video.grad, 2, 8).abs().sum((0, 2)).reshape(4, 64) > 0
    expected = torch.zeros(4, 64, dtype=torch.bool)
    expected[:, 9] = True
    assert torch.equal(influence, expected)


@pytest.mark.parametrize("mask", [random_mask, frame_mask])
def test_factorised_encoder_with_another_mask_is_an_error(mask):
    """Also where the number of visible tokens is a multiple of the time patches."""
    model = encoder(factorised_attention=True)
    other = mask(2, model.config.grid, 0.75, Generator().manual_seed(0))
    assert int((~other[0]).sum()) % 4 == 0
    with pytest.raises(ValueError, match="differs between time patches: factorised attention needs masking: tube"):
        model.split_tokens(random_video(), other)


# Errors


def test_video_of_another_size_is_an_error_that_says_the_right_one():
    with pytest.raises(ValueError, match=r"a video is \(2, 3, 8, 32, 32\): must be \(B, 3, 8, 64, 64\)"):
        encoder()(random_video()[..., :32, :32])


def test_video_with_nan_is_an_error():
    video = random_video()
    video[1, 2, 3, 4, 5] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        encoder()(video)
