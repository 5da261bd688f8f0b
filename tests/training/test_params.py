"""The training sections of params.yaml."""

from collections import Counter
from dataclasses import asdict

import pytest
import yaml

from common.errors import ParamError
from tests.conftest import REPO
from tests.training import toy
from training import params


def numbers(value):
    """All numbers in nested params."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list | tuple):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_the_project_s_own_params_are_valid_for_sample_and_full(here):
    text = (REPO / "params.yaml").read_text()
    (here / "params.yaml").write_text(text)
    sample = params.load()
    (here / "params.yaml").write_text(text.replace("\ncorpus: sample", "\ncorpus: full"))
    full = params.load()
    assert sample.pretrain.optimiser.steps < full.pretrain.optimiser.steps
    assert (sample.evaluate.episodes, full.evaluate.episodes) == (400, 10000)
    assert sample.stage3.memory == full.stage3.memory


def test_every_value_in_the_file_reaches_the_settings(here):
    toy.write_params(here)
    raw = yaml.safe_load((here / "params.yaml").read_text())
    settings = asdict(params.load())
    for section, values in settings.items():
        assert not Counter(numbers(raw[section])) - Counter(numbers(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretrain__ratio": 1.5}, r"pretrain\.ratio is 1\.5: must be from 0\.01 to 0\.99"),
        ({"pretrain__masking": "magic"}, r"pretrain\.masking is 'magic': must be one of random, tube, frame"),
        ({"pretrain__decoder_ratio": 0.3}, r"pretrain: decoder_ratio is 0\.3: must be 0\.25, 0\.5, 0\.75 or null"),
        ({"pretrain__stride": 0}, r"pretrain\.stride is 0: must be at least 1"),
        ({"pretrain__optimiser__betas": [0.9]}, r"pretrain\.optimiser: betas is \[0\.9\]: must be two numbers"),
        ({"stage1__optimiser__betas": [0.9, 1.0]}, r"stage1\.optimiser: betas is \[0\.9, 1\.0\]: must be two numbers"),
        ({"stage1__optimiser__clip_norm": 0}, r"stage1\.optimiser\.clip_norm is 0"),
        ({"stage1__optimiser__steps": 2.5}, r"stage1\.optimiser\.steps is 2\.5: must be a whole number"),
        ({"stage2__label_smoothing": -1}, r"stage2\.label_smoothing is -1"),
        ({"stage3__memory__heads": 200}, r"stage3\.memory: heads is 200: must be at most rows, 128"),
        (
            {"stage3__methods": ["mann_frozen"]},
            r"stage3: methods has mann_frozen: must be untrained or HEAD_ENCODER, HEAD one of mann, .*, ENCODER one of pretrained",
        ),
        (
            {"stage3__methods": ["trx_random"], "stage3__features": "mean"},
            r"stage3: methods has trx_random: must be without trx where features is mean",
        ),
        (
            {"stage3__methods": ["text_prototypes_finetuned"]},
            r"stage3: methods has text_prototypes_finetuned: must be on a frozen encoder",
        ),
        ({"stage3__text__ngrams": [5, 3]}, r"stage3\.text: ngrams is \[5, 3\]: must be the least and the most"),
        ({"stage3__trx__cardinalities": []}, r"stage3\.trx: cardinalities is \[\]: must hold at least one"),
        ({"stage3__way": 1}, r"stage3\.way is 1: must be from 2 to 100"),
        ({"stage3__ways": 5}, r"stage3\.ways is unknown: did you mean way\?"),
        ({"stage3__class_scale": float("inf")}, r"stage3\.class_scale is inf"),
        ({"evaluate__episodes": 0}, r"evaluate\.episodes is 0: must be at least 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(here, change, message):
    toy.write_params(here, **change)
    with pytest.raises(ParamError, match=rf"^params\.yaml: {message}"):
        params.load()


@pytest.mark.parametrize("key", ["pretrain__optimiser__betas", "stage3__memory__key_strength", "stage3__class_scale"])
def test_no_number_has_a_default_in_code(here, key):
    toy.write_params(here)
    raw = yaml.safe_load((here / "params.yaml").read_text())
    *sections, name = key.split("__")
    place = raw
    for section in sections:
        place = place[section]
    del place[name]
    (here / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamError, match=f"{key.replace('__', '.')} is missing"):
        params.load()
