"""Checkpoints are checked as a whole before anything is loaded."""

import copy

import pytest
import torch

from common.errors import WorkError
from tests.training.engine.quadratic import Quadratic, noisy, settings
from training.engine import checkpoints
from training.engine.checkpoints import Run, TrainState, checkpoint_path, data_fingerprint, fingerprint, load_finished
from training.engine.loop import train
from training.engine.optimiser import create_optimiser
from training.models import load_pretrained

RUN = Run("run", "f", 0)
SETTINGS = settings(60)


@pytest.fixture
def finished(here):
    """The history of a finished run, and its checkpoint's content."""
    model = Quadratic()
    history = train(RUN, model, SETTINGS, noisy(model))
    return history, torch.load(RUN.path, weights_only=True)


def with_part(content, path, value):
    """A copy of a checkpoint's content with one part replaced; `...` removes it."""
    content = copy.deepcopy(content)
    *folders, key = path
    place = content
    for folder in folders:
        place = place[folder]
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return content


DAMAGE = {
    "no model": (("model",), ...),
    "a model of other keys": (("model",), {"bias": torch.zeros(2)}),
    "a model of another shape": (("model", "weight"), torch.zeros(3)),
    "a model of another dtype": (("model", "weight"), torch.zeros(2, dtype=torch.float64)),
    "no optimiser": (("optimiser",), ...),
    "an optimiser that is a list": (("optimiser",), [1]),
    "an optimiser without groups": (("optimiser", "param_groups"), []),
    "an optimiser of more parameters": (("optimiser", "param_groups", 0, "params"), [0, 1]),
    "an optimiser of other parameters": (("optimiser", "param_groups", 0, "params"), [7]),
    "an optimiser without betas": (("optimiser", "param_groups", 0, "betas"), ...),
    "moments of another shape": (("optimiser", "state", 0, "exp_avg"), torch.zeros(5)),
    "moments of an unknown parameter": (("optimiser", "state", 9), {}),
    "no moments' step": (("optimiser", "state", 0, "step"), ...),
    "averaged weights of a run without them": (("average",), {"weight": torch.zeros(2)}),
    "best weights of another shape": (("best",), {"weight": torch.zeros(3)}),
    "a validation of unequal columns": (("validation",), {"step": [1.0, 2.0], "loss": [1.0]}),
    "no history": (("history",), ...),
    "an empty history": (("history",), {}),
    "a history without a loss": (("history", "loss"), ...),
    "a history of unequal columns": (("history", "loss"), [1.0]),
    "a history of text": (("history", "loss"), ["1.0"] * 60),
    "an unknown part": (("more",), 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_with_a_damaged_checkpoint_starts_over_from_fresh_weights(finished, capsys, damage):
    history, content = finished
    torch.save(with_part(content, *DAMAGE[damage]), RUN.path)
    model = Quadratic()
    assert train(RUN, model, SETTINGS, noisy(model)) == history
    assert torch.equal(model.weight, content["model"]["weight"])
    assert capsys.readouterr().out == "run: checkpoints/run/model.pt is not a checkpoint of this run; starting over\n"


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_is_loaded_from_a_damaged_checkpoint(finished, damage):
    _, content = finished
    torch.save(with_part(content, *DAMAGE[damage]), RUN.path)
    model = Quadratic()
    optimiser = create_optimiser(model, SETTINGS)
    before = model.weight.clone(), copy.deepcopy(optimiser.state_dict())
    state = TrainState(model, optimiser)
    assert checkpoints.resume(RUN, state) == {}
    assert torch.equal(model.weight, before[0])
    assert optimiser.state_dict() == before[1]
    assert (state.best, state.validation) == (None, {})


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: b"not a checkpoint", lambda data: data[:500], lambda data: data[:-40]],
    ids=["empty", "text", "beginning", "without its end"],
)
def test_a_file_that_cannot_be_read_is_started_over(finished, capsys, damage):
    history, _ = finished
    RUN.path.write_bytes(damage(RUN.path.read_bytes()))
    model = Quadratic()
    assert train(RUN, model, SETTINGS, noisy(model)) == history
    assert "starting over" in capsys.readouterr().out


def test_a_checkpoint_with_changed_bytes_is_started_over_or_resumed_as_it_was(finished):
    history, content = finished
    data = RUN.path.read_bytes()
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        damaged = bytearray(data)
        for position in torch.randint(len(data), (8,), generator=random).tolist():
            damaged[position] ^= 0xFF
        RUN.path.write_bytes(damaged)
        model = Quadratic()
        assert train(RUN, model, SETTINGS, noisy(model)) == history
        assert torch.equal(model.weight, content["model"]["weight"])


def test_a_single_changed_bit_in_the_weights_is_noticed(finished, capsys):
    _, content = finished
    data = bytearray(RUN.path.read_bytes())
    place = data.find(content["model"]["weight"].numpy().tobytes())
    data[place] ^= 1
    RUN.path.write_bytes(data)
    with pytest.raises(WorkError, match=r"checkpoints/run/model\.pt is damaged: the checksum of .* is wrong"):
        load_finished(RUN, Quadratic())
    model = Quadratic()
    train(RUN, model, SETTINGS, noisy(model))
    assert torch.equal(model.weight, content["model"]["weight"])
    assert "is damaged: the checksum of" in capsys.readouterr().out


def test_code_in_a_checkpoint_is_not_run(finished, here):
    class Payload:
        def __reduce__(self):
            return (open, (str(here / "written"), "w"))

    torch.save({"fingerprint": "f", "model": Payload()}, RUN.path)
    model = Quadratic()
    train(RUN, model, SETTINGS, noisy(model))
    assert not (here / "written").exists()


def test_a_finished_run_s_weights_are_loaded(finished):
    _, content = finished
    model = Quadratic()
    load_finished(RUN, model)
    assert torch.equal(model.weight, content["model"]["weight"])


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("fingerprint",), "other", "is of other params, data or code"),
        (("model", "weight"), torch.zeros(3), "does not fit the model"),
        (("done",), False, "is of a run that has not finished"),
    ],
)
def test_weights_of_another_or_unfinished_run_are_refused(finished, path, value, reason):
    _, content = finished
    torch.save(with_part(content, path, value), RUN.path)
    model = Quadratic()
    with pytest.raises(WorkError, match=f"{reason}: run `python -m training run` first"):
        load_finished(RUN, model)
    assert model.weight.tolist() == [3.0, -2.0]


def test_weights_that_are_not_there_are_an_error(here):
    with pytest.raises(WorkError, match=r"checkpoints/stage3/mann/model\.pt is not here"):
        load_finished(Run("stage3/mann", "f", 0), Quadratic())


def test_a_checkpoint_of_a_model_is_read_by_load_pretrained(here):
    from training.models import create_model

    shape = {"num_frames": 4, "image_size": 16, "dim": 24, "depth": 1, "heads": 2, "decoder_dim": 16}
    shape |= {"decoder_heads": 2, "decoder_depth": 1}
    model, other = (create_model("small_2x8x8", **shape) for _ in range(2))
    optimiser = torch.optim.AdamW(model.parameters())
    checkpoints.save(RUN, TrainState(model, optimiser), {"loss": [1.0]}, done=True)
    load_pretrained(other, RUN.path)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_a_checkpoint_lies_in_the_folder_of_its_run(here):
    assert str(checkpoint_path("stage2/masked")) == "checkpoints/stage2/masked/model.pt"
    assert Run("stage2/masked", "f", 0).path == checkpoint_path("stage2/masked")


def test_fingerprints_differ_by_any_value_and_not_by_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    digests = {
        fingerprint(*parts)
        for parts in ((1, settings(10)), (2, settings(10)), (1, settings(11)), (1, settings(10, lr=0.1)), (1,), ())
    }
    assert len(digests) == 6


def test_the_data_s_fingerprint_is_that_of_the_manifest_s_bytes(here):
    manifest = here / "shards.parquet"
    manifest.write_bytes(b"one")
    first = data_fingerprint(manifest)
    manifest.write_bytes(b"two")
    assert data_fingerprint(manifest) != first
    manifest.unlink()
    with pytest.raises(WorkError, match="run `make dataset`"):
        data_fingerprint(manifest)


def test_temporary_files_of_killed_runs_are_deleted(here):
    stale = RUN.path.parent / ".part-4194304999-model.pt"  # no process has such a number
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    train(RUN, Quadratic(), SETTINGS, noisy(Quadratic()))
    assert list(RUN.path.parent.iterdir()) == [RUN.path]
