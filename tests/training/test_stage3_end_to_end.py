"""Stage 3 and evaluation with encoders that are trained, on toy shards; what is read, and what is refused."""

import shutil

import pyarrow.parquet as pq
import pytest
import torch

from common.errors import WorkError
from tests.training import toy
from training import evaluate, stage3
from training.clips import Clips

METHODS = ["mann_pretrained", "mann_finetuned", "prototypes_scratch"]


def weights(name):
    return torch.load(f"checkpoints/{name}/model.pt", weights_only=True)["model"]


def encoder(name):
    return {key: value for key, value in weights(name).items() if key.startswith("encoder.")}


@pytest.fixture(scope="module")
def template(trained_project, tmp_path_factory):
    """A project with finished pre-training, in which stage 3 has trained three methods and evaluation has measured them."""
    root = tmp_path_factory.mktemp("end_to_end") / "project"
    shutil.copytree(trained_project, root)
    shutil.rmtree(root / "checkpoints/stage3")
    toy.write_params(root, stage3__methods=METHODS, stage3__seed=3)  # another initialisation than that of pre-training
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        stage3.main()
        evaluate.main()
    return root


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fine_tuned_encoder_starts_from_the_pre_trained_one_and_one_from_scratch_does_not(project):
    start = encoder("pretrain")
    tuned, scratch = encoder("stage3/mann_finetuned"), encoder("stage3/prototypes_scratch")
    assert tuned.keys() == scratch.keys() == start.keys()
    # Two steps at a rate of 0.01 move a weight by at most that rate each, and its decay.
    near = torch.cat(
        [(tuned[name] - value).abs().flatten() for name, value in start.items() if value.is_floating_point()]
    )
    far = torch.cat(
        [(scratch[name] - value).abs().flatten() for name, value in start.items() if value.is_floating_point()]
    )
    assert 0 < float(near.max()) < 0.025
    assert float(far.max()) > 0.05


def test_all_methods_are_measured_in_the_same_episodes_and_by_source(project):
    found = toy.read_json(project / "metrics/evaluate.json")
    assert [name for name, value in found.items() if isinstance(value, dict) and "few_shot" in value] == METHODS
    of_source = found["by_source"]["toy"]
    assert (of_source["classes"], of_source["instances"]) == (5, 3)
    for name in METHODS:  # there is one source: the episodes are the same
        assert of_source[name]["few_shot"] == found[name]["few_shot"]
    assert set(pq.read_table("logs/evaluate.parquet").column("method").to_pylist()) == set(METHODS)
    header, *rows = (project / "plots/confused_pairs.tsv").read_text().splitlines()
    assert header.split("\t") == ["first", "second", "confused", "shown", "share"]
    names = {clip.class_name for clip in Clips().select(split="test")}
    assert all(set(row.split("\t")[:2]) <= names for row in rows)


def test_no_clip_of_a_held_out_class_is_read(project, monkeypatch):
    """Training gives the same weights without their shards, and asks for none of their clips."""
    expected = {name: weights(f"stage3/{name}") for name in METHODS}
    shutil.rmtree(project / "checkpoints/stage3")
    for path in (project / "data/shards").glob("test-*"):
        path.unlink()
    read, decode = set(), Clips.decode
    monkeypatch.setattr(Clips, "decode", lambda self, clip, data=None: read.add(clip.split) or decode(self, clip, data))
    stage3.main()
    assert read <= {"train"}
    for name, values in expected.items():
        assert all(torch.equal(value, values[key]) for key, value in weights(f"stage3/{name}").items())


def test_the_best_weights_on_validation_classes_are_kept(project):
    optimiser = toy.optimiser(steps=4) | {"validations": 4, "patience": 4}
    toy.write_params(
        project,
        stage3__methods=["mann_pretrained", "mann_finetuned"],
        **{"stage3__validation_classes": 2, "stage3__way": 2, "stage3__optimiser": optimiser},
        stage3__end_to_end__finetuned=optimiser | {"batch": 2},
    )
    stage3.main()
    metrics = toy.read_json(project / "metrics/stage3.json")
    for name in ("mann_pretrained", "mann_finetuned"):
        state = torch.load(f"checkpoints/stage3/{name}/model.pt", weights_only=True)
        best = state["validation"]["loss"].index(min(state["validation"]["loss"]))
        assert metrics[name]["validation_last"] == pytest.approx(state["validation"]["validation_last"][best])


def test_a_checkpoint_of_another_encoder_is_refused(project):
    path = project / "checkpoints/stage3/mann_finetuned/model.pt"
    content = torch.load(path, weights_only=True)
    content["model"]["encoder.norm.weight"] = torch.ones(3)
    torch.save(content, path)
    with pytest.raises(
        WorkError, match=r"stage3/mann_finetuned/model\.pt does not fit the model: run `python -m training stage3`"
    ):
        evaluate.main()


def test_learners_on_an_older_encoder_are_refused(project):
    toy.write_params(project, stage3__methods=METHODS, pretrain__seed=1)
    with pytest.raises(WorkError, match=r"checkpoints/pretrain/model\.pt is of other params, data or code"):
        evaluate.main()
