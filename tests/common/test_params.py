"""params.yaml as typed dataclasses, and the messages about wrong values."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import yaml

from common.errors import ParamError
from common.params import Params, Range, build, passwords, read
from common.sections import SECTIONS
from tests.conftest import REPO


@dataclass(frozen=True)
class Inner:
    name: str
    size: Annotated[int, Range(1, 9)] = 3


@dataclass(frozen=True)
class Outer:
    rate: float
    mode: Literal["fast", "slow"]
    on: bool
    inner: Inner | None
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.mode == "slow" and self.rate > 10:
            raise ValueError(f"rate is {self.rate}: must be at most 10 when slow")


GOOD = {"rate": 2, "mode": "fast", "on": True, "inner": {"name": "x"}, "numbers": [1, 2]}


def test_yaml_data_becomes_a_frozen_dataclass():
    built = build(Outer, GOOD, "top")
    assert built == Outer(2.0, "fast", True, Inner("x", 3), (1, 2))
    assert isinstance(built.rate, float)
    with pytest.raises(AttributeError):
        built.rate = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rat": 1}, "top.rat is unknown: did you mean rate?"),
        ({"colour": 1}, "top.colour is unknown: allowed are rate, mode, on, inner, numbers"),
        ({"rate": "2"}, "top.rate is '2': must be a number"),
        ({"rate": True}, "top.rate is True: must be a number"),
        ({"rate": float("nan")}, "top.rate is nan: must be a number"),
        ({"rate": None}, "top.rate is None: must be a number"),
        ({"mode": "medium"}, "top.mode is 'medium': must be one of fast, slow"),
        ({"on": 1}, "top.on is 1: must be true or false"),
        ({"inner": {}}, "top.inner.name is missing"),
        ({"inner": {"name": 3}}, "top.inner.name is 3: must be text"),
        ({"inner": {"name": "x", "size": 10}}, "top.inner.size is 10: must be from 1 to 9"),
        ({"inner": {"name": "x", "size": 2.0}}, "top.inner.size is 2.0: must be a whole number"),
        ({"inner": [1]}, "top.inner is [1]: must be a mapping"),
        ({"numbers": 3}, "top.numbers is 3: must be a list"),
        ({"numbers": [1, "b"]}, "top.numbers[1] is 'b': must be a whole number"),
        ({"mode": "slow", "rate": 11}, "top: rate is 11.0: must be at most 10 when slow"),
    ],
)
def test_error_names_the_key_the_value_and_the_allowed_values(change, message):
    with pytest.raises(ParamError) as caught:
        build(Outer, GOOD | change, "top")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_list_or_mapping_in_place_of_a_word_is_an_error(value):
    with pytest.raises(ParamError, match=r"top\.mode"):
        build(Outer, GOOD | {"mode": value}, "top")


def test_none_is_accepted_for_optional_values_only():
    assert build(Outer, GOOD | {"inner": None}, "top").inner is None
    assert build(Annotated[int, Range(1)] | None, None, "x") is None
    with pytest.raises(ParamError, match="must be at least 1"):
        build(Annotated[int, Range(1)] | None, 0, "x")


def test_environment_variables_in_texts_are_replaced(monkeypatch):
    monkeypatch.setenv("NAME", "a${B}$")
    monkeypatch.setenv("OTHER_2", "c")
    assert build(Inner, {"name": "x${NAME}/${OTHER_2}$NAME${}"}, "top").name == "xa${B}$/c$NAME${}"
    assert build(tuple[str, ...], ["${OTHER_2}"], "list") == ("c",)


def test_missing_environment_variable_is_an_error_that_names_it(monkeypatch):
    monkeypatch.delenv("NAME", raising=False)
    with pytest.raises(ParamError) as caught:
        build(Inner, {"name": "http://u:${NAME}@host"}, "top")
    assert str(caught.value) == (
        "params.yaml: top.name is 'http://u:${NAME}@host': the environment variable NAME is not set"
    )


def test_corpus_is_chosen_by_an_environment_variable(here, monkeypatch):
    (here / "params.yaml").write_text((REPO / "params.yaml").read_text().replace("corpus: sample", "corpus: ${CORPUS}"))
    with pytest.raises(ParamError, match="the environment variable CORPUS is not set"):
        read(SECTIONS)
    monkeypatch.setenv("CORPUS", "sample")
    params = read(SECTIONS)
    assert params.corpus == "sample"
    assert params.raw["corpus"] == "${CORPUS}"


def test_passwords_in_clear_text_are_found():
    values = {
        "corpus": "http://user:secret@host",
        "download": {"proxy": "user:secret@proxy:80", "cookies": "/home/user/cookies.txt", "n": 3},
        "list": ["https://host/a?X-Amz-Signature=ab", "http://user@host", "http://host:80/a@b", "a: b@c"],
        "variables": ["http://${USER}:${PASSWORD}@host", "s3://k:${SECRET}@b", "https://host/a?token=${TOKEN}"],
    }
    assert list(passwords(values)) == ["corpus", "download.proxy", "list[0]"]


def with_section(corpus: str, **section: Any) -> Params:
    return Params(corpus, {"part": section})


def test_sample_values_apply_to_the_sample_corpus_only():
    section = {"name": "x", "size": 4, "sample": {"size": 2}}
    assert with_section("sample", **section).section("part", Inner).size == 2
    assert with_section("full", **section).section("part", Inner).size == 4
    assert with_section("s3://bucket/mirror", **section).section("part", Inner).size == 4


@pytest.mark.parametrize(
    ("overlay", "message"), [({"sice": 2}, r"part\.sample\.sice is unknown"), (3, r"part\.sample is 3")]
)
@pytest.mark.parametrize("corpus", ["sample", "full"])
def test_wrong_sample_values_are_an_error_for_every_corpus(corpus, overlay, message):
    with pytest.raises(ParamError, match=message):
        with_section(corpus, name="x", size=4, sample=overlay).section("part", Inner)


def test_params_of_the_repository_have_every_section():
    params = read(SECTIONS, REPO / "params.yaml")
    assert params.corpus == "sample"
    assert set(params.raw) == set(SECTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"stage9": {}}, "stage9 is unknown"), ({"corpus": 3}, "corpus is 3"), ({"corpus": ""}, "corpus is ''")],
)
def test_unknown_section_and_wrong_corpus_are_errors(here, change, message):
    raw = yaml.safe_load((REPO / "params.yaml").read_text())
    (here / "params.yaml").write_text(yaml.safe_dump(raw | change))
    with pytest.raises(ParamError, match=message):
        read(SECTIONS)


def test_missing_section_and_missing_file_are_errors(here):
    with pytest.raises(ParamError, match=r"params\.yaml does not exist: run the command in the project folder"):
        read(SECTIONS)
    raw = yaml.safe_load((REPO / "params.yaml").read_text())
    del raw["shard"]
    (here / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamError, match="shard is missing"):
        read(SECTIONS)


@pytest.mark.parametrize("text", ["a: [1", "\t- x", "a: b: c"])
def test_invalid_yaml_is_one_line_of_error(here, text):
    (here / "params.yaml").write_text(text)
    with pytest.raises(ParamError, match="not valid YAML") as caught:
        read(SECTIONS)
    assert "\n" not in str(caught.value)
