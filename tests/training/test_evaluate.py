"""Few-shot evaluation against loops and closed forms."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Generator

from common.errors import ParamError
from training import evaluate
from training.fewshot.episodes import EpisodeSampler

CLASSES = torch.arange(5).repeat_interleave(6)


def episodes(number, seed=0):
    return EpisodeSampler(CLASSES, way=3, shots=4).draw(number, Generator().manual_seed(seed))


def test_a_summary_has_means_and_intervals_by_instance_and_by_shots():
    hits = torch.tensor([[0.2, 0.4, 0.6], [0.0, 0.8, 1.0], [0.4, 0.6, 0.8], [0.2, 0.6, 1.0]])
    summary = evaluate.summarise(hits, way=5)
    assert summary["instance_accuracy"] == pytest.approx({"1": 0.2, "2": 0.6, "3": 0.85})
    deviations = [np.std(column, ddof=1) for column in hits.numpy().T]
    expected = {str(k + 1): 1.96 * deviation / math.sqrt(4) for k, deviation in enumerate(deviations)}
    assert summary["instance_ci95"] == pytest.approx(expected, rel=1e-5)
    assert list(summary["few_shot"]) == ["5way_1shot"]  # three rounds are too few for five shots
    assert summary["few_shot"]["5way_1shot"] == pytest.approx({"mean": 0.6, "ci95": expected["2"], "episodes": 4})


def test_five_shots_are_the_sixth_instance():
    hits = torch.arange(20.0).reshape(2, 10) / 20
    few_shot = evaluate.summarise(hits, way=3)["few_shot"]
    assert few_shot["3way_1shot"]["mean"] == pytest.approx(float(hits[:, 1].mean()))
    assert few_shot["3way_5shot"]["mean"] == pytest.approx(float(hits[:, 5].mean()))


def test_differences_are_paired_by_episode():
    first, second = torch.rand(50, 6), torch.rand(50, 6)
    results = evaluate.compare({"mann": first, "mean": second}, way=5)
    assert "difference" not in results["mann"]
    for shots, column in (("5way_1shot", 1), ("5way_5shot", 5)):
        paired = (second - first)[:, column].numpy()
        found = results["mean"]["difference"][shots]
        assert found["mean"] == pytest.approx(paired.mean(), abs=1e-6)
        assert found["ci95"] == pytest.approx(1.96 * paired.std(ddof=1) / math.sqrt(50), rel=1e-4)


def test_every_prediction_is_written(here):
    drawn = episodes(3)
    predicted = {"mann": drawn.labels, "mean": torch.zeros_like(drawn.labels)}
    evaluate.write_predictions(predicted, drawn, [f"clip{number}" for number in range(30)])
    rows = pq.read_table(here / "logs/evaluate.parquet").to_pylist()
    assert len(rows) == 2 * 3 * 4 * 3
    assert rows[0] == {
        "method": "mann",
        "episode": 0,
        "instance": 1,
        "clip_id": f"clip{int(drawn.clips[0, 0, 0])}",
        "label": int(drawn.labels[0, 0, 0]),
        "predicted": int(drawn.labels[0, 0, 0]),
    }
    last = rows[-1]
    assert (last["method"], last["episode"], last["instance"], last["predicted"]) == ("mean", 2, 4, 0)
    assert last["clip_id"] == f"clip{int(drawn.clips[2, 3, 2])}"


def test_a_batch_of_episodes_is_the_same_for_every_method():
    first, again = episodes(5), episodes(5)
    assert torch.equal(first.clips, again.clips)


@pytest.mark.parametrize(("wanted", "expected"), [(10, 4), (3, 3), (4, 4)])
def test_episodes_are_as_long_as_enough_classes_allow(wanted, expected):
    classes = torch.tensor([0] * 9 + [1] * 4 + [2] * 5 + [3] * 2 + [4])
    assert evaluate.count_instances(classes, way=3, wanted=wanted) == expected


def test_too_few_classes_with_two_clips_are_a_param_error():
    classes = torch.tensor([0, 0, 1, 1, 2, 3])
    with pytest.raises(ParamError, match=r"stage3\.way is 3: only 2 held-out classes have two clips"):
        evaluate.count_instances(classes, way=3, wanted=10)


def result(first, last):
    return {"instance_accuracy": {"1": first, "10": last}, "instance_ci95": {"1": 0.01, "10": 0.02}, "few_shot": {}}


def test_curves_have_a_row_per_method_and_instance(here):
    evaluate.write_curves({"mann": result(0.2, 0.75), "mean": result(0.2, 0.5)})
    assert (here / "plots/instances.tsv").read_text() == (
        "method\tinstance\taccuracy\nmann\t1\t0.2000\nmann\t10\t0.7500\nmean\t1\t0.2000\nmean\t10\t0.5000\n"
    )


def test_the_printed_summary_has_first_and_last_instance(capsys):
    evaluate.print_summary({"mann": result(0.2, 0.75)})
    line = " ".join(capsys.readouterr().out.split())
    assert line == "evaluate: mann instance 1 20.0% instance 10 75.0% ± 2.0%"
