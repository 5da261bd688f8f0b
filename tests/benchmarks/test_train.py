"""Drawn clips are read as the dataset's are, and logs give the rates of a run's steady state."""

import json

import numpy as np
import yaml

from benchmarks.drawn import SIZE, TICKS, draw_frames, write_dataset
from benchmarks.train import read_rates, shorten
from tests.conftest import REPO
from training import params
from training.clips import Clips


def test_drawn_dataset_has_readable_clips_of_both_splits(tmp_path):
    write_dataset(tmp_path, 16, copies=2)
    clips = Clips(tmp_path / "manifests/shards.parquet")
    assert (len(clips), clips.ticks, clips.size) == (32, TICKS, SIZE)
    assert (len(clips.select(split="train")), len(clips.select(split="test"))) == (20, 12)
    assert len({clip.clip_id for clip in clips.rows}) == 32
    difference = np.abs(clips.frames("drawn-000003-1").astype(int) - draw_frames(3, 0.1 + 3 / 8)).mean()
    assert difference < 3


def test_rates_leave_out_the_first_interval(tmp_path):
    rates = [(1.0, 0.9), (50.0, 0.0), (70.0, 0.2), (60.0, 0.1)]
    events = [{"event": "step", "clips_per_s": speed, "wait_share": share} for speed, share in rates]
    start = {"event": "start", "compiled": True}
    log = tmp_path / "run.jsonl"
    log.write_text("".join(json.dumps(event) + "\n" for event in [start, *events, {"event": "end"}]))
    assert read_rates(log) == (60.0, 0.1, None, True)


def test_shortened_params_are_valid_and_have_the_wanted_steps_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = yaml.safe_load((REPO / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(shorten(settings, 7), sort_keys=False))
    stages = params.load()
    assert {stages.pretrain.optimiser.steps, stages.stage1.optimiser.steps, stages.stage3.optimiser.steps} == {7}
