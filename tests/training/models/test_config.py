"""The named models, their sizes, and the errors of configs that are impossible."""

import dataclasses

import pytest
import torch

from common.errors import ParamError
from training.models import MAE, Classifier, ModelConfig, create_model
from training.models.presets import PRESETS

PARAMETERS = {
    "paper_small": (3_109_008, None),  # as the paper counts
    "paper_small_classifier": (2_720_378, None),
    "small_2x8x8": (3_019_200, None),
    "videomae_small": (24_029_376, None),  # these three as transformers counts
    "videomae_base": (94_210_944, None),
    "videomae_large": (342_996_992, None),
    "mae_st_large": (318_429_440, 304_096_256),  # the encoder as published
    "videomae_v2_small": (24_029_376, 21_879_936),
    "videomae_v2_base": (94_210_944, 86_227_200),
    "videomae_v2_large": (317_782_016, 303_860_736),
    "videomae_v2_huge": (645_659_392, 631_607_040),
    "videomae_v2_giant": (1_026_306_560, 1_011_610_752),
    "vjepa2_vitl": (304_356_672, 303_885_312),  # the encoders as transformers counts; the small decoders are ours
    "vjepa2_vith": (632_143_936, 631_648_000),
    "vjepa2_vitg": (1_012_695_300, 1_012_173_952),
    "vjepa2_vitg_384": (1_012_695_300, 1_012_173_952),
}


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_named_model_is_counted_here():
    assert PARAMETERS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_named_model_has_its_number_of_parameters(name):
    with torch.device("meta"):
        model = create_model(name)
    total, encoder = PARAMETERS[name]
    assert count(model) == total
    assert encoder in (None, count(model.encoder))


def test_classes_decide_between_classifier_and_autoencoder():
    with torch.device("meta"):
        assert isinstance(create_model("small_2x8x8"), MAE)
        assert isinstance(create_model("small_2x8x8", classes=26), Classifier)
        assert isinstance(create_model("paper_small_classifier"), Classifier)
        assert isinstance(create_model("paper_small_classifier", classes=None, pooling="mean"), MAE)


def test_unknown_name_is_an_error_that_lists_the_names():
    with pytest.raises(ParamError) as caught:
        create_model("paper_smal")
    assert str(caught.value).startswith("model is 'paper_smal': must be one of paper_small, ")
    assert all(name in str(caught.value) for name in PRESETS)


def test_unknown_field_is_an_error_that_lists_the_fields():
    with pytest.raises(ParamError) as caught:
        create_model("small_2x8x8", num_frame=3)
    assert str(caught.value).startswith("model small_2x8x8: num_frame is unknown: allowed are ")
    assert all(field.name in str(caught.value) for field in dataclasses.fields(ModelConfig))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": "3"}, "depth is '3': must be a whole number"),
        ({"depth": 2.0}, "depth is 2.0: must be a whole number"),
        ({"depth": True}, "depth is True: must be a whole number"),
        ({"depth": None}, "depth is None: must be a whole number"),
        ({"mlp_ratio": "wide"}, "mlp_ratio is 'wide': must be a number"),
        ({"class_token": 1}, "class_token is 1: must be true or false"),
        ({"bias": "some"}, "bias is 'some': must be one of none, no_key, full"),
        ({"tokenizer": "cubes"}, "tokenizer is 'cubes': must be one of tubelet, spt"),
        ({"spt_copies": 6}, "spt_copies is 6: must be one of 5, 7"),
        (
            {"positions": "shared"},
            "positions is 'shared': must be one of sincos_3d, sincos_1d, separable, joint, rotary_3d",
        ),
        (
            {"decoder_positions": "rotary_3d"},
            "decoder_positions is 'rotary_3d': must be one of sincos_3d, sincos_1d, separable, joint, shared",
        ),
        (
            {"positions": "rotary_3d", "heads": 48},
            "heads is 48: must give heads of an even number of columns from 6 for rotary_3d",
        ),
        (
            {"positions": "rotary_3d", "dim": 198},
            "heads is 6: must give heads of an even number of columns from 6 for rotary_3d",
        ),
        (
            {"positions": "rotary_3d", "class_token": True},
            "class_token is true: must be false with rotary_3d positions",
        ),
        (
            {"positions": "rotary_3d", "factorised_attention": True},
            "factorised_attention is true: must be false with rotary_3d positions",
        ),
        (
            {"positions": "rotary_3d", "decoder_positions": "shared", "decoder_dim": 192},
            "decoder_positions is shared: must be the decoder's own with rotary_3d positions",
        ),
        ({"pooled_norm": True}, "final_norm is true: must be false with pooled_norm"),
        (
            {"decoder_positions": "none"},
            "decoder_positions is 'none': must be one of sincos_3d, sincos_1d, separable, joint, shared",
        ),
        ({"loss": "huber"}, "loss is 'huber': must be one of mse, l1, smooth_l1"),
        ({"mean": 0.5}, "mean is 0.5: must be 3 numbers"),
        ({"mean": [0.5, 0.5]}, "mean is [0.5, 0.5]: must be 3 numbers"),
        ({"std": [0.5, 0.5, "x"]}, "std[2] is 'x': must be a number"),
        ({"std": [0.5, 0.5, 0]}, "std is (0.5, 0.5, 0.0): must be positive"),
        ({"dim": 0, "heads": 1}, "dim is 0: must be at least 1"),
        ({"depth": -1}, "depth is -1: must be at least 1"),
        ({"classes": 0}, "classes is 0: must be at least 1"),
        ({"heads": 5}, "heads is 5: must divide dim, 192"),
        ({"decoder_heads": 5}, "decoder_heads is 5: must divide decoder_dim, 96"),
        ({"dim": 9, "heads": 3}, "dim is 9: must be even for sincos_3d positions"),
        ({"decoder_dim": 9}, "decoder_dim is 9: must be even for sincos_3d positions"),
        ({"decoder_positions": "shared"}, "decoder_dim is 96: must equal dim, 192, for shared positions"),
        ({"drop_path": 1.0}, "drop_path is 1.0: must be at least 0 and less than 1"),
        ({"head_dropout": -0.1}, "head_dropout is -0.1: must be at least 0 and less than 1"),
        ({"mlp_ratio": 0.001}, "mlp_ratio is 0.001: must give at least one hidden unit"),
        ({"num_frames": 15}, "num_frames is 15: must be a multiple of tubelet, 2"),
        ({"image_size": 60}, "image_size is 60: must be a multiple of patch, 8"),
        ({"tubelet": 0}, "tubelet is 0: must be at least 1"),
        (
            {"target_frames": 12},
            "target_frames is 12: must be a multiple of the 8 time patches, and at most num_frames, 16",
        ),
        (
            {"target_frames": 32},
            "target_frames is 32: must be a multiple of the 8 time patches, and at most num_frames, 16",
        ),
        ({"pretrained_grid": [0, 14]}, "pretrained_grid is (0, 14): must be at least 1"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan: must be a number"),
        ({"eps": -1e-6}, "eps is -1e-06: must not be negative"),
        ({"pretrained_grid": [8]}, "pretrained_grid is [8]: must be 2 numbers"),
        ({"pooling": "class_token"}, "pooling is class_token: must be mean without class_token"),
        ({"class_position": True}, "class_position is true: must be false without class_token"),
        ({"distance_bias": "both", "class_token": True}, "class_token is true: must be false with distance_bias both"),
        (
            {"distance_bias": "decoder", "local_attention": True},
            "local_attention is true: must be false with distance_bias decoder",
        ),
        (
            {"factorised_attention": True, "class_token": True},
            "class_token is true: must be false with factorised_attention",
        ),
    ],
)
def test_impossible_config_is_an_error_that_names_field_value_and_what_is_allowed(changes, message):
    with pytest.raises(ParamError) as caught:
        create_model("small_2x8x8", **changes)
    assert str(caught.value) == f"model small_2x8x8: {message}"
    with pytest.raises(ValueError, match="must"):
        dataclasses.replace(PRESETS["small_2x8x8"], **changes)


def test_values_as_yaml_has_them_become_the_fields_types():
    config = dataclasses.replace(PRESETS["small_2x8x8"], mlp_ratio=4, mean=[0, 0.5, 1], pretrained_grid=[8, 14])
    assert isinstance(config.mlp_ratio, float)
    assert config.mean == (0.0, 0.5, 1.0)
    assert config.pretrained_grid == (8, 14)
    assert hash(config) == hash(dataclasses.replace(config))


def test_target_grid_has_fewer_frames_per_tubelet_at_the_same_places():
    config = PRESETS["mae_st_large"]  # 16 frames, of which 8 are predicted
    assert (config.grid.tubelet, config.grid.num_frames) == (2, 16)
    assert (config.target_grid.tubelet, config.target_grid.num_frames) == (1, 8)
    assert config.target_grid.tokens == config.grid.tokens
    plain = PRESETS["small_2x8x8"]
    assert plain.target_grid == plain.grid


def test_norm_before_a_head_has_its_own_eps_or_the_others():
    config = PRESETS["small_2x8x8"]
    assert config.head_norm_eps == 1e-6
    assert dataclasses.replace(config, head_eps=1e-5).head_norm_eps == 1e-5
