"""Project folders with toy shards."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training import toy

STAGES = ("pretrain", "stage1", "stage2", "stage3", "evaluate")
NETWORKS = (  # the runs of the stages
    *("pretrain", "stage1", "stage2/autoencoder", "stage2/unmasked", "stage2/masked"),
    *("stage3/embedding_pretrained", "stage3/embedding_random", "stage3/mann_pretrained", "stage3/mann_random"),
    *("stage3/lstm_pretrained", "stage3/transformer_pretrained"),
)


@pytest.fixture(autouse=True, scope="session")
def _one_cpu_thread() -> Iterator[None]:
    """No GPU, for reproducible results; one thread, because more only slow down toy models in parallel tests."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _room_on_any_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and shared memory are used here, however full this machine's disk is."""
    monkeypatch.setattr("common.files._KEEP_FREE", 0)


@pytest.fixture
def toy_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with toy shards and params that train for a few steps; the test runs in it."""
    toy.write_shards(tmp_path, toy.orbit_clips())
    toy.write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder like `toy_project` in which all stages have run. Tests must not change it."""
    root = tmp_path_factory.mktemp("trained")
    toy.write_shards(root, toy.orbit_clips())
    toy.write_params(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in STAGES:
            importlib.import_module(f"training.{stage}").main()
    return root
