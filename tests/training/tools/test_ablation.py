"""The ablation on toy shards: real runs, real files."""

import shutil
import statistics

import pyarrow.parquet as pq
import pytest

from tests.training import toy
from training.fewshot.trainer import Trainer
from training.tools import ablation

SHARES = ("0.5", "1")


@pytest.fixture(scope="module")
def template(trained_project, tmp_path_factory):
    """A project folder with finished pre-training and a whole ablation."""
    root = tmp_path_factory.mktemp("ablation") / "project"
    shutil.copytree(trained_project, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        ablation.main()
    return root


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(root):
    return (root / "metrics/ablation.json").read_bytes(), (root / "plots/ablation.tsv").read_bytes()


def test_every_arm_is_measured_for_every_share_of_labels_on_the_same_episodes(template):
    found = toy.read_json(template / "metrics/ablation.json")
    shape = [found[name] for name in ("classes", "way", "instances", "episodes", "seeds")]
    assert shape == [5, 5, 3, 30, 2]
    assert list(found["arms"]) == list(ablation.ARMS)
    for arm, shares in found["arms"].items():
        assert tuple(shares) == SHARES
        assert [shares[share]["labels"] for share in SHARES] == [15, 28]  # 28 clips; at least an episode of 15
        for result in shares.values():
            one = result["few_shot"]["5way_1shot"]
            assert one["episodes"] == 30
            assert one["mean"] == pytest.approx(statistics.mean(one["by_seed"]))
            assert one["deviation"] == pytest.approx(statistics.stdev(one["by_seed"]))
            assert result["instance_accuracy"]["1"] == pytest.approx(0.2, abs=0.08)
            assert ("difference" in result) == (arm != "mann_pretrained")


def test_the_interval_is_over_episodes_of_the_mean_over_seeds_and_differences_are_paired(template):
    found = toy.read_json(template / "metrics/ablation.json")["arms"]

    def column(arm, seed):
        table = pq.read_table(template / f"logs/ablation/labels_0.5/seed_{seed}/{arm}.parquet")
        return table.column("2").to_pylist()

    means = [statistics.mean(pair) for pair in zip(column("mann_scratch", 0), column("mann_scratch", 1), strict=True)]
    one = found["mann_scratch"]["0.5"]["few_shot"]["5way_1shot"]
    assert one["mean"] == pytest.approx(statistics.mean(means))
    assert one["ci95"] == pytest.approx(1.96 * statistics.stdev(means) / 30**0.5, rel=1e-4)
    other = [
        statistics.mean(pair) for pair in zip(column("mann_pretrained", 0), column("mann_pretrained", 1), strict=True)
    ]
    paired = found["mann_scratch"]["0.5"]["difference"]["5way_1shot"]
    assert paired["mean"] == pytest.approx(statistics.mean(means) - statistics.mean(other))


def test_arms_without_training_labels_do_not_depend_on_their_share(template):
    found = toy.read_json(template / "metrics/ablation.json")["arms"]
    for arm in ("linear_pretrained", "nearest_mean_pretrained"):
        assert found[arm]["0.5"]["few_shot"] == found[arm]["1"]["few_shot"]
        assert found[arm]["1"]["few_shot"]["5way_1shot"]["deviation"] == 0


def test_an_interrupted_ablation_goes_on_where_it_stopped_to_the_same_bytes(project, monkeypatch):
    expected = results(project)
    for folder in ("checkpoints/ablation", "logs/ablation", "plots/ablation", "metrics", "plots"):
        shutil.rmtree(project / folder, ignore_errors=True)
    train, calls = Trainer.train, []

    def stopped(self, method):
        calls.append(method)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return train(self, method)

    monkeypatch.setattr(Trainer, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        ablation.main()
    assert not (project / "metrics/ablation.json").exists()
    ablation.main()
    assert len(calls) == 10 + 24 - 9  # those that were measured are not trained again
    assert results(project) == expected


def test_a_finished_ablation_reads_no_clip(project, monkeypatch):
    expected = results(project)
    shutil.rmtree(project / "data")
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained"))
    ablation.main()
    assert results(project) == expected


def test_other_params_are_measured_anew(project):
    toy.write_params(project, ablation__episodes=20)
    ablation.main()
    found = toy.read_json(project / "metrics/ablation.json")
    assert found["episodes"] == found["arms"]["mann_scratch"]["1"]["few_shot"]["5way_1shot"]["episodes"] == 20
