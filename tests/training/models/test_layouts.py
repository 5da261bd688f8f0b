"""Checkpoint layouts: recognised by keys, renamed completely, and renamed back."""

import pytest
import torch

from tests.training.models.published import DIM, PUBLISHED
from tests.training.models.tiny import autoencoder, classifier
from training.models.layouts import (
    detect,
    extract_state_dict,
    fuse_qkv,
    huggingface_config,
    split_qkv,
    to_huggingface,
    to_own,
)
from training.models.positions import sinusoid_1d

HUGGINGFACE = {
    "bias": "no_key",
    "positions": "sincos_1d",
    "decoder_positions": "sincos_1d",
    "decoder_bias": False,
}


@pytest.fixture(params=PUBLISHED)
def published(request):
    return PUBLISHED[request.param]


def test_layout_is_recognised_by_its_keys(published):
    assert detect(published.weights()) == published.layout


def test_own_weights_are_recognised_and_left_alone():
    weights = autoencoder().state_dict()
    assert detect(weights) == "own"
    assert to_own(weights, "own") == weights


def test_keys_of_something_else_are_not_recognised():
    assert detect({"resnet.conv1.weight": torch.zeros(3)}) is None
    assert detect({}) is None


def test_renamed_weights_are_exactly_the_models(published):
    renamed, own = to_own(published.weights(), published.layout), published.model().state_dict()
    assert renamed.keys() == own.keys()
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in own.items()}


def test_renaming_keeps_every_value(published):
    before = torch.cat([value.flatten() for value in published.weights().values()])
    after = torch.cat([value.flatten() for value in to_own(published.weights(), published.layout).values()])
    assert torch.equal(before.sort().values, after.sort().values)


def test_convolution_becomes_a_linear_layer_over_frame_row_column_colour(published):
    weights = published.weights()
    convolution = next(value for value in weights.values() if value.dim() == 5)  # out, colour, frame, row, column
    linear = to_own(weights, published.layout)["encoder.embed.proj.weight"].reshape(DIM, 2, 16, 16, 3)
    assert torch.equal(linear[5, 1, 2, 3], convolution[5, :, 1, 2, 3])


def test_unknown_keys_are_kept_as_they_are(published):
    weights = published.weights() | {"something.else": torch.zeros(3)}
    assert "something.else" in to_own(weights, published.layout)


@pytest.mark.parametrize("key", ["pos_embed", "encoder.pos_embed"])
def test_saved_tables_of_fixed_positions_are_dropped_and_learned_ones_are_not(key):
    videomae, fixed = PUBLISHED["VideoMAE"], sinusoid_1d(1568, DIM)[None]
    renamed = to_own(videomae.weights() | {key: fixed}, "videomae")
    assert renamed.keys() == to_own(videomae.weights(), "videomae").keys()
    assert key in to_own(videomae.weights() | {key: fixed + 0.1 * torch.randn_like(fixed)}, "videomae")


def test_first_row_of_mae_sts_joint_table_is_the_class_tokens():
    weights = PUBLISHED["MAE-ST, published"].weights()
    renamed = to_own(weights, "mae_st")
    assert torch.equal(renamed["decoder.class_position"], weights["decoder_pos_embed"][0, 0])
    assert torch.equal(renamed["decoder.positions.table"], weights["decoder_pos_embed"][0, 1:])


@pytest.mark.parametrize("key", ["head.projection.weight", "head.weight"])
def test_norm_of_a_fine_tuned_mae_st_is_the_heads(key):
    weights = PUBLISHED["MAE-ST, fine-tuned"].weights()
    weights[key] = weights.pop("head.weight")
    renamed = to_own(weights, "mae_st")
    assert torch.equal(renamed["norm.weight"], weights["norm.weight"])
    assert torch.equal(renamed["head.weight"], weights[key])
    assert "encoder.norm.weight" not in renamed


# Query, key and value


def test_query_key_and_value_are_fused_in_this_order():
    parts = {f"blocks.0.attn.{letter}.weight": torch.full((2, 2), float(n)) for n, letter in enumerate("qkv")}
    fused = fuse_qkv(parts)
    assert list(fused) == ["blocks.0.attn.qkv.weight"]
    assert fused["blocks.0.attn.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_biases_of_query_and_value_alone_stay_two_vectors():
    fused = fuse_qkv({"attn.x": torch.ones(1), "a.attn.q.bias": torch.ones(2), "a.attn.v.bias": torch.zeros(2)})
    assert fused.keys() == {"attn.x", "a.attn.q_bias", "a.attn.v_bias"}


def test_a_missing_part_is_not_hidden():
    fused = fuse_qkv({"a.attn.q.weight": torch.ones(2, 2), "a.attn.v.weight": torch.ones(2, 2)})
    assert fused.keys() == {"a.attn.q.weight", "a.attn.v.weight"}


@pytest.mark.parametrize("bias", ["none", "no_key", "full"])
def test_fusing_inverts_splitting(bias):
    weights = autoencoder(bias=bias).state_dict()
    split = split_qkv(weights)
    assert split["encoder.blocks.0.attn.k.weight"].shape == (48, 48)
    fused = fuse_qkv(split)
    assert fused.keys() == weights.keys()
    assert all(torch.equal(fused[key], weights[key]) for key in weights)


# Nesting


@pytest.mark.parametrize("outer", ["model_state", "state_dict", "model", "module"])
def test_weights_are_found_below_a_wrapping_key(outer):
    weights = {"a.weight": torch.ones(1), "a.bias": torch.zeros(1)}
    assert extract_state_dict({"epoch": 3, outer: weights}) == weights
    assert extract_state_dict({"x": {"y": 1}, "state_dict": {outer: weights}}) == weights


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_prefixes_of_parallel_and_compiled_training_are_removed(prefix):
    assert extract_state_dict({f"{prefix}a": torch.ones(1), f"{prefix}b": torch.ones(1)}).keys() == {"a", "b"}


def test_a_prefix_of_some_keys_only_belongs_to_the_name():
    assert extract_state_dict({"model.a": torch.ones(1), "b": torch.ones(1)}).keys() == {"model.a", "b"}


def test_values_that_are_not_tensors_are_left_out():
    assert extract_state_dict({"a": torch.ones(1), "epoch": 3}).keys() == {"a"}


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model": {"epoch": 3}}, {"model": None}])
def test_content_without_weights_is_empty(content):
    assert extract_state_dict(content) == {}


def test_content_that_contains_itself_ends():
    content: dict = {"epoch": 3}
    content["model"] = content
    assert extract_state_dict(content) == {}


# To Hugging Face


@pytest.mark.parametrize("make", [autoencoder, classifier])
def test_weights_renamed_for_transformers_come_back_the_same(make):
    model = make(**HUGGINGFACE)
    weights = model.state_dict()
    there = to_huggingface(weights, model.config)
    assert there["videomae.embeddings.patch_embeddings.projection.weight"].shape == (48, 3, 2, 8, 8)
    back = to_own(there, "huggingface")
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": "spt"}, "tokenizer is spt, must be tubelet"),
        ({"positions": "sincos_3d"}, "positions is sincos_3d, must be sincos_1d"),
        ({"positions": "joint"}, "positions is joint, must be sincos_1d"),
        ({"pretrained_grid": (8, 14)}, r"pretrained_grid is \(8, 14\), must be None"),
        ({"bias": "full"}, "bias is full, must be none or no_key"),
        ({"class_token": True}, "class_token is True, must be False"),
        ({"local_attention": True}, "local_attention is True, must be False"),
        ({"factorised_attention": True}, "factorised_attention is True, must be False"),
        ({"decoder_positions": "sincos_3d"}, "decoder_positions is sincos_3d, must be sincos_1d"),
        ({"decoder_bias": True}, "decoder_bias is True, must be False"),
        ({"decoder_norm": False}, "decoder_norm is False, must be True"),
        ({"final_norm": False}, "final_norm is False, must be True"),
        ({"target_frames": 4}, "target_frames is 4, must be None"),
    ],
)
def test_model_without_equivalent_in_transformers_is_an_error_that_says_why(changes, message):
    model = autoencoder(**(HUGGINGFACE | changes))
    with pytest.raises(ValueError, match=f"no equivalent of the model: {message}"):
        to_huggingface(model.state_dict(), model.config)


def test_config_for_transformers_has_the_models_sizes():
    config = huggingface_config(autoencoder(**HUGGINGFACE, mlp_ratio=2.0).config)
    assert config["architectures"] == ["VideoMAEForPreTraining"]
    assert (config["image_size"], config["patch_size"], config["num_frames"], config["tubelet_size"]) == (64, 8, 8, 2)
    assert (config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]) == (48, 2, 96)
    assert (config["decoder_hidden_size"], config["decoder_intermediate_size"]) == (24, 48)
    tuned = huggingface_config(classifier(**HUGGINGFACE).config)
    assert tuned["architectures"] == ["VideoMAEForVideoClassification"]
    assert len(tuned["id2label"]) == 5
