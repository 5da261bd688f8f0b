"""A stage trains the same weights whatever the storage of its clips."""

import pytest
import torch

from tests.training import toy
from training import pretrain

OPTIMISER = toy.optimiser(steps=7)


def weights(root, storage, **changes):
    root.mkdir()
    toy.write_shards(root, toy.orbit_clips(classes=8, per_class=3, ticks=50, size=32), per_shard=4)
    toy.write_params(root, loader__storage=storage, loader__shuffle=5, pretrain__optimiser=OPTIMISER, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        pretrain.main()
    return torch.load(root / "checkpoints/pretrain/model.pt", weights_only=True)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """Weights trained on clips in memory, and the folder with their shards."""
    root = tmp_path_factory.mktemp("storages") / "memory"
    return weights(root, "memory"), root


@pytest.mark.parametrize("storage", ["decode", "stream"])
def test_weights_are_equal_to_those_of_clips_in_memory(in_memory, tmp_path, storage):
    assert_equal(weights(tmp_path / storage, storage), in_memory[0])


def test_weights_are_equal_from_shards_at_a_url(in_memory, tmp_path):
    expected, root = in_memory
    assert_equal(weights(tmp_path / "other", "stream", loader__shards=f"file://{root}"), expected)


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
