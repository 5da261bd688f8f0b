"""Latents leave by clip_id, of any layer, pooled or not, from our own or other people's weights."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from tests.training.conftest import ROOT
from training.clips import Clips, normalise
from training.models import create_model, export_pretrained

SMALL = {"num_frames": 8, "dim": 48, "depth": 2, "heads": 3, "decoder_dim": 24, "decoder_depth": 1}
SET = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


def call(folder, *arguments):
    command = [sys.executable, "-m", "training", "export-latents", *arguments]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def weights(project):
    torch.manual_seed(0)
    model = create_model("small_2x8x8", **SMALL).eval()
    export_pretrained(model, project / "model.pt")
    return model


def expected(model, clip_id, layer=None):
    video = normalise(Clips()[clip_id][torch.arange(8) * 4][None])
    with torch.no_grad():
        return (model.encode(video) if layer is None else model.encoder.hidden_states(video)[layer + 1])[0]


def test_one_mean_a_clip_in_parquet(project, weights):
    done = call(project, "--model", "small_2x8x8", "--weights", "model.pt", *SET, "-o", "out/latents.parquet")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(project / "out/latents.parquet")
    assert set(table.clip_id) == {row.clip_id for row in Clips().rows}
    row = table.set_index("clip_id").loc["toy-c03-1"]
    np.testing.assert_allclose(row.latent, expected(weights, "toy-c03-1").mean(0).numpy(), atol=1e-5)
    assert [path.name for path in (project / "out").iterdir()] == ["latents.parquet"]


def test_every_token_of_a_layer_in_npy(project, weights):
    arguments = ["--model", "small_2x8x8", "--weights", "model.pt", *SET, "--layer", "0", "--tokens", "--split", "test"]
    done = call(project, *arguments, "-o", "tokens.npy")
    assert done.returncode == 0, done.stderr
    tokens, ids = np.load(project / "tokens.npy"), json.loads((project / "tokens.json").read_text())["clip_id"]
    assert ids == [row.clip_id for row in Clips().select(split="test")]
    assert tokens.shape == (len(ids), weights.config.grid.tokens, 48)
    np.testing.assert_allclose(tokens[2], expected(weights, ids[2], layer=0).numpy(), atol=1e-5)


def test_another_size_is_scaled_to(project):
    shape = {"image_size": 32, "dim": 48, "depth": 1, "heads": 3, "decoder_dim": 24, "decoder_heads": 3}
    export_pretrained(create_model("videomae_small", **shape), project / "small.pt")
    changes = [part for name, value in shape.items() for part in ("--set", f"{name}={value}")]
    done = call(project, "--model", "videomae_small", "--weights", "small.pt", *changes, "-o", "a.parquet")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "a.txt"], 2, "must end in .parquet or .npy"),
        (["-o", "a.parquet", "--tokens"], 2, "go into an .npy file"),
        (["-o", "a.parquet", "--model", "small_2x8x8"], 2, "--model and --weights go together"),
        (["-o", "a.parquet", "--set", "dim"], 2, "must be KEY=VALUE"),
        (["-o", "a.parquet"], 1, "checkpoints/pretrain/model.pt is not here"),
        (
            ["-o", "a.npy", "--model", "small_2x8x8", "--weights", "model.pt", *SET, "--layer", "7"],
            2,
            "must be from -1 to 1",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(project, weights, arguments, code, said):
    done = call(project, *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
