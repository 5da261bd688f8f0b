"""A stage trains the same weights whatever the storage of its clips."""

import pytest
import torch

from tests.training import toy
from training import pretrain


def weights(root, monkeypatch, storage, **changes):
    root.mkdir()
    toy.write_shards(root, toy.orbit_clips(per_class=3), per_shard=4)
    toy.write_params(root, loader__storage=storage, loader__shuffle=5, **changes)
    monkeypatch.chdir(root)
    pretrain.main()
    return torch.load(root / "checkpoints/pretrain/model.pt", weights_only=True)


@pytest.fixture
def in_memory(tmp_path, monkeypatch):
    return weights(tmp_path / "memory", monkeypatch, "memory", pretrain__optimiser=toy.optimiser(steps=7))


@pytest.mark.parametrize("storage", ["decode", "stream"])
def test_weights_are_equal_to_those_of_clips_in_memory(in_memory, tmp_path, monkeypatch, storage):
    other = weights(tmp_path / storage, monkeypatch, storage, pretrain__optimiser=toy.optimiser(steps=7))
    assert_equal(other, in_memory)


def test_weights_are_equal_from_shards_at_a_url(in_memory, tmp_path, monkeypatch):
    url = f"file://{tmp_path}/memory"
    changes = {"pretrain__optimiser": toy.optimiser(steps=7), "loader__shards": url}
    other = weights(tmp_path / "other", monkeypatch, "stream", **changes)
    assert_equal(other, in_memory)


def assert_equal(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for mine, theirs in zip(one, other, strict=True):
            assert_equal(mine, theirs)
