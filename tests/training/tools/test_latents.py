"""Exported latents: of any layer, pooled or not, from our own or other checkpoints."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from common import command
from tests.training import toy
from training import __main__ as entry
from training.clips import Clips
from training.models import Encoder, create_model, export_pretrained, model_config
from training.models.preprocess import preprocess
from training.tools import latents as latents_tool

SMALL = {"num_frames": 8, "dim": 48, "depth": 2, "heads": 3, "decoder_dim": 24, "decoder_depth": 1}


def overrides(shape):
    """Command-line arguments that set fields of a model's config."""
    return [part for name, value in shape.items() for part in ("--set", f"{name}={value}")]


OWN = ["--model", "small_2x8x8", "--weights", "model.pt", *overrides(SMALL)]


@pytest.fixture
def export(monkeypatch, capsys):
    """Runs `python -m training export-latents ARGUMENTS` in this process; returns the exit code and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["training", "export-latents", *arguments])
        code = command.run(entry.main)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def weights(toy_project):
    """A model whose checkpoint is model.pt."""
    torch.manual_seed(0)
    model = create_model("small_2x8x8", **SMALL).eval()
    export_pretrained(model, toy_project / "model.pt")
    return model


def expected(model, clip_id, *, layer=None, stride=4):
    """Tokens of a clip's first window, (N, D)."""
    frames = Clips()[clip_id][torch.arange(model.config.num_frames) * stride]
    video = preprocess(frames[None], model.config)
    with torch.no_grad():
        tokens = model.encode(video) if layer is None else model.encoder.hidden_states(video)[layer + 1]
    return tokens[0].numpy()


def test_parquet_has_one_mean_per_clip(toy_project, weights, export):
    code, err = export(*OWN, "-o", "out/latents.parquet")
    assert code == 0, err
    table = pd.read_parquet(toy_project / "out/latents.parquet")
    assert list(table.clip_id) == [row.clip_id for row in Clips().rows]
    for clip_id in ("toy-c00-0", "toy-c03-1", "toy-c11-3"):
        latent = table.set_index("clip_id").latent[clip_id]
        np.testing.assert_allclose(latent, expected(weights, clip_id).mean(0), atol=1e-5)
    assert [path.name for path in (toy_project / "out").iterdir()] == ["latents.parquet"]


def test_npy_has_every_token_of_a_layer(toy_project, weights, export):
    code, err = export(*OWN, "--layer", "0", "--tokens", "--split", "test", "-o", "tokens.npy")
    assert code == 0, err
    tokens, ids = np.load(toy_project / "tokens.npy"), json.loads((toy_project / "tokens.json").read_text())["clip_id"]
    assert ids == [row.clip_id for row in Clips().select(split="test")]
    assert tokens.shape == (len(ids), weights.config.grid.tokens, 48)
    for position in (2, 19):
        np.testing.assert_allclose(tokens[position], expected(weights, ids[position], layer=0), atol=1e-5)


def test_frames_are_the_stride_apart(toy_project, weights, export):
    assert export(*OWN, "--stride", "7", "-o", "latents.npy")[0] == 0
    first = Clips().rows[0].clip_id
    mean = expected(weights, first, stride=7).mean(0)
    np.testing.assert_allclose(np.load("latents.npy")[0], mean, atol=1e-5)


def test_a_clip_shorter_than_the_window_is_repeated(here, export):
    numbered = toy.numbered_frames(3, ticks=40)
    toy.write_shards(here, [toy.ToyClip("short", numbered, 0, valid_frames=10)])
    toy.write_params(here)
    model = create_model("small_2x8x8", **SMALL).eval()
    export_pretrained(model, here / "model.pt")
    assert export(*OWN, "--stride", "4", "-o", "latents.npy")[0] == 0
    frames = Clips()["short"][[0, 4, 8, 2, 6, 0, 4, 8]]
    with torch.no_grad():
        mean = model.encode(preprocess(frames[None], model.config))[0].mean(0)
    np.testing.assert_allclose(np.load("latents.npy")[0], mean, atol=1e-5)


def test_the_class_token_is_left_out(toy_project, export):
    model = create_model("small_2x8x8", **SMALL, class_token=True).eval()
    export_pretrained(model, toy_project / "model.pt")
    assert export(*OWN, "--set", "class_token=true", "--layer", "1", "-o", "latents.npy")[0] == 0
    tokens = expected(model, Clips().rows[0].clip_id, layer=1)[1:]
    np.testing.assert_allclose(np.load("latents.npy")[0], tokens.mean(0), atol=1e-5)


def test_clips_are_resized_to_a_model_of_another_size(toy_project, export):
    shape = {
        "image_size": 32,
        "num_frames": 8,
        "dim": 48,
        "depth": 1,
        "heads": 3,
        "decoder_dim": 24,
        "decoder_heads": 3,
    }
    model = create_model("videomae_small", **shape).eval()
    export_pretrained(model, toy_project / "small.pt")
    arguments = ["--model", "videomae_small", "--weights", "small.pt", *overrides(shape)]
    assert export(*arguments, "-o", "a.parquet")[0] == 0
    latent = pd.read_parquet("a.parquet").set_index("clip_id").latent["toy-c05-2"]
    np.testing.assert_allclose(latent, expected(model, "toy-c05-2").mean(0), atol=1e-5)


def test_without_a_model_the_pre_trained_one_is_used(trained_project, monkeypatch, tmp_path, export):
    monkeypatch.chdir(trained_project)
    out = tmp_path / "latents.npy"
    assert export("--stride", "2", "-o", str(out))[0] == 0
    from training import params
    from training.engine.setup import load_autoencoder

    model = load_autoencoder(params.load(), 64)
    first = Clips().rows[0].clip_id
    np.testing.assert_allclose(np.load(out)[0], expected(model, first, stride=2).mean(0), atol=1e-5)


def test_other_files_of_the_same_name_stay(toy_project, weights, export):
    (toy_project / "latents.npy").write_bytes(b"precious")
    assert export(*OWN, "-o", "latents.parquet")[0] == 0
    assert (toy_project / "latents.npy").read_bytes() == b"precious"


def test_a_failed_export_leaves_nothing_behind(toy_project, weights, export):
    shard = toy_project / "data/shards/test-000000.tar"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    (toy_project / "out").mkdir()
    for name in ("latents.parquet", "latents.npy"):
        code, err = export(*OWN, "-o", f"out/{name}")
        assert code == 1
        assert "holds no filmstrip" in err
        assert list((toy_project / "out").iterdir()) == []


def test_temporary_files_of_a_killed_export_are_deleted(toy_project, weights, export):
    for name in ("a.npy", "a.json"):
        (toy_project / f".part-99999999-{name}").write_bytes(b"half")
    assert export(*OWN, "-o", "a.npy")[0] == 0
    assert list(toy_project.glob(".part-*")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "a.txt"], 2, "-o a.txt: must end in .parquet or .npy"),
        (["-o", "a.parquet", "--tokens"], 2, "-o a.parquet: --tokens are written to an .npy file only"),
        (["-o", "a.parquet", "--model", "small_2x8x8"], 2, "--model and --weights go together"),
        (["-o", "a.parquet", "--weights", "model.pt"], 2, "--model and --weights go together"),
        (["-o", "a.parquet", "--set", "dim"], 2, "--set dim: must be KEY=VALUE"),
        (["-o", "a.parquet", "--set", "dim=[1"], 2, "--set dim=[1: must be KEY=VALUE, the value in YAML"),
        (["-o", "a.parquet", "--set", "dim=wide"], 2, "dim is 'wide'"),
        (["-o", "a.parquet", "--stride", "0"], 2, "--stride 0: must be at least 1"),
        (["-o", "a.parquet"], 1, "checkpoints/pretrain/model.pt is not here"),
        ([*OWN, "-o", "a.npy", "--layer", "7"], 2, "--layer 7: must be from -1 to 1"),
        ([*OWN, "-o", "a.npy", "--split", "val"], 1, "no clips in split 'val'"),
        ([*OWN, "-o", "a.npy", "--set", "dim=24"], 1, "model.pt"),
    ],
)
def test_a_wrong_argument_is_one_line(toy_project, weights, export, arguments, code, message):
    found, err = export(*arguments)
    assert found == code, err
    assert message in err
    assert len(err.strip().splitlines()) == 1


VJEPA2 = {"num_frames": 8, "image_size": 32, "dim": 48, "depth": 2, "heads": 4}


def test_vjepa2_of_transformers_encodes_clips_at_its_own_size_mean_and_std(toy_project, export):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        frames_per_clip=8,
        crop_size=32,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    their = transformers.VJEPA2Model(config).eval()
    their.save_pretrained(toy_project / "vjepa2")
    code, err = export("--model", "vjepa2_vitl", "--weights", "vjepa2", *overrides(VJEPA2), "-o", "latents.npy")
    assert code == 0, err
    rows = Clips().rows
    frames = torch.from_numpy(np.stack([Clips()[row.clip_id].numpy()[np.arange(8) * 4] for row in rows[:2]]))
    images = torch.nn.functional.avg_pool2d(frames.permute(0, 1, 4, 2, 3).flatten(0, 1).float() / 255, 2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        tokens = their(images.unflatten(0, (2, 8)), skip_predictor=True).last_hidden_state
    latents = np.load("latents.npy")
    assert latents.shape == (len(rows), 48)
    np.testing.assert_allclose(latents[:2], tokens.mean(1), atol=1e-5)


def test_mean_of_a_classifiers_tokens_has_the_norm_of_its_head(toy_project, export):
    model = create_model("small_2x8x8", **SMALL, classes=4).eval()
    with torch.no_grad():
        model.norm.weight.mul_(3)
    export_pretrained(model, toy_project / "tuned.pt")
    assert export("--model", "small_2x8x8", "--weights", "tuned.pt", *overrides(SMALL), "-o", "latents.npy")[0] == 0
    mean = torch.from_numpy(expected(model, Clips().rows[0].clip_id).mean(0))
    np.testing.assert_allclose(np.load("latents.npy")[0], model.norm(mean).detach(), atol=1e-4)


@pytest.mark.parametrize(("frames", "size", "clips"), [(8, 64, 32), (64, 128, 8), (64, 256, 2), (64, 384, 1)])
def test_batches_are_bounded_by_their_tokens(frames, size, clips):
    with torch.device("meta"):
        config = model_config("vjepa2_vitl", num_frames=frames, image_size=size, dim=48, depth=1, heads=4)
        assert latents_tool._batch_size(Encoder(config)) == clips


def test_frames_are_closer_where_the_window_is_longer_than_the_clips(toy_project, weights, export):
    """32 frames 3 ticks apart fit into a clip of 100 ticks; 4 ticks apart they would repeat."""
    shape = SMALL | {"num_frames": 32}
    model = create_model("small_2x8x8", **shape).eval()
    export_pretrained(model, toy_project / "long.pt")
    arguments = ["--model", "small_2x8x8", "--weights", "long.pt", *overrides(shape)]
    assert export(*arguments, "-o", "a.npy")[0] == 0
    longest = max(row.valid_frames for row in Clips().rows)
    assert export(*arguments, "--stride", str(longest // 32), "-o", "b.npy")[0] == 0
    assert longest // 32 == 3
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
