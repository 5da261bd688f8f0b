"""verify compares the files of the sample with the recorded digests."""

import dataclasses
import hashlib

import pytest

from common.errors import ParamError, WorkError
from common.paths import SHARDS
from pipeline import params
from pipeline.records import manifests
from pipeline.records.rows import ROW_TYPES
from pipeline.sample import digests
from pipeline.sample.digests import Digests, compare, params_digest
from tests.conftest import REPO


@pytest.fixture
def settings(here):
    """The committed params.yaml, in a folder of its own."""
    (here / "params.yaml").write_text((REPO / "params.yaml").read_text())
    return params.load()


@pytest.fixture
def recorded(settings):
    """Digests of sixteen small files, written where the sample's manifests and shards would be."""
    paths = [manifests.path_of(kind) for kind in ROW_TYPES] + [SHARDS / f"train-{n:06d}.tar" for n in range(7)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    files = {path.as_posix(): hashlib.sha256(path.name.encode()).hexdigest() for path in paths}
    return Digests(params_digest(settings), files)


def test_committed_digests_are_of_the_committed_params(settings):
    committed = digests.load()
    assert committed.params == params_digest(settings), "run `make dataset`, then `python -m pipeline.sample.digests`"
    assert len(committed.files) == len(ROW_TYPES) + 7


def test_equal_files_are_as_recorded(settings, recorded):
    assert compare(settings, recorded) == "all 16 digests of the sample are as recorded"


def test_different_and_missing_files_are_named(settings, recorded):
    (SHARDS / "train-000003.tar").write_text("other")
    (SHARDS / "train-000004.tar").unlink()
    line = compare(settings, recorded)
    assert line is not None
    assert line.startswith(
        "2 of 16 digests of the sample differ from the recorded ones (train-000003.tar, train-000004"
    )
    assert "libx264 or OpenCV" in line


@pytest.mark.parametrize(
    ("section", "change"),
    [("resize", {"size": 112}), ("split", {"seed": 1}), ("download", {"kinetics_clips": 800}), ("shard", {"seed": 1})],
)
def test_nothing_is_compared_with_other_params(settings, recorded, section, change):
    changed = dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **change)})
    assert compare(changed, recorded) is None


def test_nothing_is_compared_with_another_corpus(settings, recorded):
    assert compare(dataclasses.replace(settings, corpus="full"), recorded) is None


def test_nothing_is_compared_where_shards_are_kept_or_clips_are_excluded(settings, recorded, here):
    frozen = dataclasses.replace(settings, split=dataclasses.replace(settings.split, freeze=True))
    assert compare(frozen, recorded) is None
    (here / "manifests/excluded.csv").write_text("clip_id,reason\na,x\n")
    assert compare(settings, recorded) is None


@pytest.mark.parametrize(
    ("section", "change"),
    [("engine", {"workers": 3}), ("download", {"connections": 4}), ("resize", {"timeout_s": 5.0})],
)
def test_params_without_effect_on_the_files_are_ignored(settings, recorded, section, change):
    changed = dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **change)})
    assert compare(changed, recorded) == "all 16 digests of the sample are as recorded"


def test_recorded_digests_are_those_of_the_files(settings, recorded, here, monkeypatch, capsys):
    monkeypatch.setattr(digests, "RECORDED", here / "digests.json")
    digests.main()
    assert capsys.readouterr().out == "digests.json: 16 digests recorded\n"
    assert digests.load(here / "digests.json") == recorded


def test_digests_of_a_missing_file_are_not_recorded(settings, recorded, here, monkeypatch):
    monkeypatch.setattr(digests, "RECORDED", here / "digests.json")
    manifests.path_of(ROW_TYPES[2]).unlink()
    with pytest.raises(WorkError, match=r"manifests/resample.parquet is missing: run `dvc repro verify`"):
        digests.main()
    assert not (here / "digests.json").exists()


def test_digests_of_another_corpus_are_not_recorded(settings, here):
    (here / "params.yaml").write_text((here / "params.yaml").read_text().replace("corpus: sample", "corpus: full"))
    with pytest.raises(ParamError, match="corpus is 'full': must be sample"):
        digests.main()
