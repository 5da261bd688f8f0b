"""Losses and weights of the first steps on toy shards, as recorded in golden.json: a change of training code is noticed.

`python -m tests.training.test_golden` records them anew.
"""

import importlib
import json
import math
import tempfile
from pathlib import Path

import pytest
import torch

from tests.training import toy
from tests.training.conftest import NETWORKS
from training.engine.runs import VERSIONS

GOLDEN = Path(__file__).with_name("golden.json")
RECORD = "record the new values by `python -m tests.training.test_golden`"
# Coarse enough for other processors, BLAS libraries and numbers of threads, which change losses by up to 2e-4, norms by 2e-6.
LOSS_TOLERANCE, NORM_TOLERANCE = 2e-3, 5e-5


def measure(root: Path) -> dict[str, dict[str, object]]:
    """Losses of every step, and the norm of all weights after the last one, of every checkpoint of a project."""
    found: dict[str, dict[str, object]] = {}
    for path in sorted((root / "checkpoints").rglob("*.pt")):
        state = torch.load(path, weights_only=True)
        norm = math.sqrt(sum(float(value.double().square().sum()) for value in state["model"].values()))
        losses = [float(f"{loss:.6g}") for loss in state["history"]["loss"]]
        found[str(path.parent.relative_to(root / "checkpoints"))] = {"losses": losses, "norm": float(f"{norm:.6g}")}
    return found


def differs(found: dict[str, object], recorded: dict[str, object]) -> bool:
    return found["losses"] != pytest.approx(recorded["losses"], rel=LOSS_TOLERANCE) or found["norm"] != pytest.approx(
        recorded["norm"], rel=NORM_TOLERANCE
    )


def verdict(
    network: str, found: dict[str, object], recorded: dict[str, object], versions: dict[str, int]
) -> str | None:
    """What to do about a network; None if it is trained as recorded.

    Args:
        network: name of its run.
        found: its losses and norm.
        recorded: those in golden.json.
        versions: of the stages when they were recorded.
    """
    stage = network.partition("/")[0]
    depends_on = {stage, "pretrain"} if stage in ("stage1", "stage3") else {stage}
    raised = any(VERSIONS[name] != versions[name] for name in depends_on)
    if differs(found, recorded):
        if raised:
            return RECORD
        return (
            f"{network} is trained differently: raise VERSIONS[{stage!r}] in training/engine/runs.py (or that of pretrain, if "
            f"it changed), so that checkpoints of older code are not resumed; then {RECORD}"
        )
    return RECORD if raised else None


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_is_trained_as_recorded_or_its_version_is_raised(trained_project, network):
    golden = json.loads(GOLDEN.read_text())
    found = measure(trained_project)
    assert set(found) == set(golden["networks"]) == set(NETWORKS)
    assert verdict(network, found[network], golden["networks"][network], golden["versions"]) is None


VALUES = {"losses": [1.5, 1.25], "norm": 7.0}


@pytest.mark.parametrize(
    ("found", "versions", "advice"),
    [
        (VALUES, VERSIONS, None),
        ({"losses": [1.501, 1.25], "norm": 7.0}, VERSIONS, None),
        ({"losses": [1.5, 1.26], "norm": 7.0}, VERSIONS, "raise VERSIONS['stage3']"),
        ({"losses": [1.5], "norm": 7.0}, VERSIONS, "raise VERSIONS['stage3']"),
        ({"losses": [1.5, 1.25], "norm": 7.001}, VERSIONS, "raise VERSIONS['stage3']"),
        ({"losses": [1.5, 1.26], "norm": 7.0}, VERSIONS | {"stage3": 0}, RECORD),
        ({"losses": [1.5, 1.26], "norm": 7.0}, VERSIONS | {"pretrain": 0}, RECORD),
        ({"losses": [1.5, 1.26], "norm": 7.0}, VERSIONS | {"stage2": 0}, "raise VERSIONS['stage3']"),
        (VALUES, VERSIONS | {"stage3": 0}, RECORD),
    ],
)
def test_the_advice_names_the_version_to_raise(found, versions, advice):
    said = verdict("stage3/mann_pretrained", found, VALUES, versions)
    assert said is None if advice is None else advice in said
    if advice == RECORD:
        assert said == RECORD


def record() -> None:
    """Train on toy shards and write golden.json."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.chdir(folder)
        toy.write_shards(Path(folder), toy.orbit_clips())
        toy.write_params(Path(folder))
        for stage in ("pretrain", "stage1", "stage2", "stage3"):
            importlib.import_module(f"training.{stage}").main()
        networks = measure(Path(folder))
    GOLDEN.write_text(json.dumps({"versions": VERSIONS, "networks": networks}, indent=1) + "\n")


if __name__ == "__main__":
    record()
