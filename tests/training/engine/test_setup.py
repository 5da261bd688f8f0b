"""Autoencoders and windows by params, and impossible params as errors that name the key."""

from dataclasses import replace

import pytest
import torch

from common.errors import ParamError, WorkError
from tests.training import toy
from training import params
from training.clips import Clips
from training.engine.setup import (
    build_autoencoder,
    build_masking,
    load_autoencoder,
    load_autoencoders,
    load_windows,
)


def pretrain_settings(**changes):
    return replace(params.load().pretrain, **changes)


def test_an_autoencoder_takes_frames_of_the_clips_size(toy_project):
    assert build_autoencoder(pretrain_settings(), "pretrain", 64).config.image_size == 64
    assert build_autoencoder(pretrain_settings(), "pretrain", 112).config.image_size == 112


def test_an_image_size_in_the_overrides_wins(toy_project):
    settings = pretrain_settings(overrides={"num_frames": 8, "image_size": 32})
    config = build_autoencoder(settings, "pretrain", 64).config
    assert (config.image_size, config.num_frames) == (32, 8)


def test_drop_path_is_one_of_the_overrides(toy_project):
    model = build_autoencoder(pretrain_settings(overrides={"drop_path": 0.3}), "pretrain", 64)
    assert model.encoder.blocks[-1].drop_path.drop_prob == pytest.approx(0.3)
    assert model.encoder.blocks[0].drop_path.drop_prob == 0.0


def test_the_seed_decides_the_weights(toy_project):
    def first_weight(seed):
        return next(build_autoencoder(pretrain_settings(seed=seed), "pretrain", 64).parameters())

    assert torch.equal(first_weight(1), first_weight(1))
    assert not torch.equal(first_weight(1), first_weight(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "large"}, "pretrain: model is 'large': must be one of paper_small"),
        (
            {"model": "paper_small_classifier", "overrides": {}},
            "pretrain.model is paper_small_classifier, a classifier: must be",
        ),
        ({"overrides": {"classes": 5}}, "pretrain.model is small_2x8x8, a classifier: must be"),
        ({"overrides": {"dim": 100, "heads": 7}}, "pretrain: .*heads is 7: must divide dim, 100"),
        ({"overrides": {"image_size": 60}}, "pretrain: .*60"),
        ({"overrides": {"widht": 100}}, "pretrain: .*widht is unknown"),
        ({"overrides": {"dim": "wide"}}, "pretrain: .*dim is 'wide'"),
        ({"overrides": {"factorised_attention": True}}, "pretrain.masking is random: must be tube"),
        ({"overrides": {"tubelet": 16}, "masking": "frame"}, "pretrain.masking is frame: .*at least two"),
        ({"overrides": {"image_size": 56}, "decoder_ratio": 0.5}, "pretrain.* 7x7 .*even"),
    ],
)
def test_an_impossible_model_is_a_param_error(toy_project, changes, message):
    with pytest.raises(ParamError, match=rf"^params\.yaml: {message}"):
        build_autoencoder(pretrain_settings(**changes), "pretrain", 64)


def test_factorised_attention_goes_with_tube_masks(toy_project):
    settings = pretrain_settings(overrides={"factorised_attention": True}, masking="tube")
    assert build_autoencoder(settings, "pretrain", 64).config.factorised_attention


def test_masking_is_as_params_say(toy_project):
    masking = build_masking(pretrain_settings(masking="tube", ratio=0.75, decoder_ratio=0.5))
    assert (masking.kind, masking.ratio, masking.decoder_ratio) == ("tube", 0.75, 0.5)


def test_a_loaded_autoencoder_has_the_pre_trained_weights(trained_project, monkeypatch):
    monkeypatch.chdir(trained_project)
    settings = params.load()
    model, fresh = load_autoencoder(settings, 64), build_autoencoder(settings.pretrain, "pretrain", 64)
    saved = torch.load("checkpoints/pretrain/model.pt", weights_only=True)["model"]
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
    assert not torch.equal(next(model.parameters()), next(fresh.parameters()))
    assert not model.training


def test_the_autoencoders_of_the_ablation_are_the_pre_trained_and_the_initialised_one(trained_project, monkeypatch):
    monkeypatch.chdir(trained_project)
    settings = params.load()
    found = load_autoencoders(settings, 64)
    random = build_autoencoder(settings.pretrain, "x", 64)
    for key, model in (("pretrained", load_autoencoder(settings, 64)), ("random", random)):
        assert not found[key].training
        assert all(torch.equal(value, found[key].state_dict()[name]) for name, value in model.state_dict().items())


def test_without_pre_training_there_is_no_autoencoder_to_load(toy_project):
    with pytest.raises(WorkError, match=r"checkpoints/pretrain/model\.pt is not here"):
        load_autoencoder(params.load(), 64)


def test_pre_training_with_other_params_is_not_loaded(trained_project, monkeypatch):
    monkeypatch.chdir(trained_project)
    settings = params.load()
    other = replace(settings, pretrain=replace(settings.pretrain, ratio=0.5))
    with pytest.raises(WorkError, match="is of other params, data or code: run `python -m training pretrain` first"):
        load_autoencoder(other, 64)


def test_windows_are_as_the_model_takes_them(toy_project):
    clips, settings = Clips(), pretrain_settings(stride=3)
    config = build_autoencoder(settings, "pretrain", clips.size).config
    data = load_windows(clips, clips.select(split="test"), config, settings, "pretrain", params.load().loader)
    assert (data.num_frames, data.stride, len(data)) == (config.num_frames, 3, 20)


def test_a_window_longer_than_a_clip_is_a_param_error(tmp_path, monkeypatch):
    toy.write_shards(tmp_path, [toy.ToyClip("clip", toy.numbered_frames(0, ticks=46), 0)])
    toy.write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    clips, settings = Clips(), pretrain_settings()
    config = build_autoencoder(settings, "pretrain", clips.size).config
    with pytest.raises(ParamError, match=r"^params\.yaml: pretrain\.stride is 2: 24 frames .*47 ticks: a clip has 46"):
        load_windows(clips, clips.rows, config, settings, "pretrain", params.load().loader)
