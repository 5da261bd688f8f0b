"""Logs of runs: one JSON object a line, from start to end."""

import json
import math
from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.engine.quadratic import Quadratic, noisy, settings
from training.engine.checkpoints import Run
from training.engine.log import RunLog, log_path
from training.engine.loop import train


def events(here, name="run"):
    return [json.loads(line) for line in (here / f"logs/{name}.jsonl").read_text().splitlines()]


def test_a_run_logs_its_start_its_steps_its_validations_and_its_end(here):
    model = Quadratic()
    task = replace(noisy(model), validate=lambda: {"loss": 2.5}, clips=3)
    history = train(Run("run", "f1", 0), model, settings(30, validations=2), task)
    logged = events(here)
    kinds = ["start", "step", "step", "validation", "step", "step", "validation", "end"]
    assert [event["event"] for event in logged] == kinds
    start, *between, end = logged
    assert (start["run"], start["fingerprint"], start["step"], start["steps"]) == ("run", "f1", 0, 30)
    assert (start["processes"], start["compiled"]) == (1, False)
    assert start["device"].startswith("CPU ")
    steps = [event for event in between if event["event"] == "step"]
    assert [event["step"] for event in steps] == [10, 15, 20, 30]
    assert [event["step"] for event in between if event["event"] == "validation"] == [15, 30]
    assert steps[1]["loss"] == pytest.approx(sum(history["loss"][10:15]) / 5)
    assert steps[1]["noise"] == pytest.approx(sum(history["noise"][10:15]) / 5)
    assert all(event["clips_per_s"] > 0 and 0 <= event["wait_share"] <= 1 for event in steps)
    assert "mfu" not in steps[0]
    assert steps[-1]["lr"] < steps[0]["lr"]
    assert end["step"] == 30
    assert end["seconds"] >= 0


def test_a_resumed_run_appends_and_a_run_that_starts_over_does_not(here):
    for fingerprint, steps in (("one", 50), ("one", 50), ("two", 20)):
        model = Quadratic()
        train(Run("stage9/run", fingerprint, 0), model, settings(steps), noisy(model))
    assert [event["event"] for event in events(here, "stage9/run")] == ["start", "step", "step", "end"]
    with log_path("stage9/run").open("a") as file:
        file.write('{"event": "st')
    with RunLog("stage9/run", 10) as log:
        log.step(20, {"loss": 1.0})
    *_, torn, last = log_path("stage9/run").read_text().splitlines()
    assert torn == '{"event": "st'
    assert json.loads(last) == {"event": "step", "step": 20, "loss": 1.0}


def test_values_that_json_does_not_have_become_null(here):
    with RunLog("run", 0) as log:
        log.step(1, {"loss": math.nan, "other": math.inf})
    assert events(here) == [{"event": "step", "step": 1, "loss": None, "other": None}]


def test_without_saving_there_is_no_log(here):
    log = RunLog("run", 0, write=False)
    log.step(1, {"loss": 1.0})
    log.end(1)
    assert not (here / "logs").exists()


def test_tensorboard_gets_the_same_values(here):
    model = Quadratic()
    train(Run("run", "f", 0), model, settings(20), noisy(model))
    written = EventAccumulator(str(here / "logs/tensorboard/run")).Reload()
    steps = [event for event in events(here) if event["event"] == "step"]
    assert [(scalar.step, scalar.value) for scalar in written.Scalars("loss")] == [
        (event["step"], pytest.approx(event["loss"])) for event in steps
    ]


def test_tensorboard_gets_the_values_of_a_run_that_fails(here):
    def fail():
        with RunLog("run", 0) as log:
            log.step(10, {"loss": 0.5})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    written = EventAccumulator(str(here / "logs/tensorboard/run")).Reload()
    assert [(scalar.step, scalar.value) for scalar in written.Scalars("loss")] == [(10, 0.5)]
