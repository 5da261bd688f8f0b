"""The registry of datasets: entries of params.yaml, and facts that load no transport."""

import subprocess
import sys
from typing import Literal, get_args, get_type_hints

import pytest

from common.errors import ParamError
from pipeline import sources
from pipeline.params import load
from tests.conftest import REPO

ALL = {
    "k": {"kind": "kinetics400"},
    "m": {"kind": "minikinetics200"},
    "t": {"kind": "tinyvirat", "version": 2},
    "f": {"kind": "folder", "root": "clips"},
}


def test_facts_are_in_the_order_of_params():
    facts = sources.facts(ALL)
    assert [(name, fact.title) for name, fact in facts.items()] == [
        ("k", "Kinetics-400"),
        ("m", "MiniKinetics-200"),
        ("t", "TinyVIRAT"),
        ("f", "a folder"),
    ]
    assert {name for name, fact in facts.items() if fact.multi_label} == {"t"}
    assert {name for name, fact in facts.items() if fact.youtube_videos} == {"k", "m"}
    assert {name for name, fact in facts.items() if fact.hosted} == {"k", "m", "t"}


def test_facts_load_no_transport_and_no_decoder():
    code = "import sys; from pipeline import sources; sources.facts({'t': {'kind': 'tinyvirat'}}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert not {"requests", "urllib3", "fsspec", "yt_dlp", "av", "cv2"} & set(result.stdout.split())


def test_every_dataset_module_is_discovered():
    assert list(sources.SPECS) == ["folder", "kinetics400", "minikinetics200", "tinyvirat"]


@pytest.mark.parametrize("kind", sources.SPECS)
def test_kind_of_an_entry_is_that_of_its_spec(kind):
    hint = get_type_hints(sources.SPECS[kind].entry)["kind"]
    assert hint == Literal[kind]
    assert get_args(hint) == (kind,)


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({}, "sources is empty"),
        ({"a b": {"kind": "kinetics400"}}, r"sources\.a b: a source's name is made of letters, digits and `_`"),
        (
            {"a": {"kind": "ucf101"}},
            r"sources\.a\.kind is 'ucf101': must be one of folder, kinetics400, minikinetics200, tiny",
        ),
        ({"a": {}}, r"sources\.a\.kind is None: must be one of"),
        ({"a": {"kind": "tinyvirat", "verzion": 1}}, r"sources\.a\.verzion is unknown: did you mean version\?"),
        ({"a": {"kind": "tinyvirat", "version": 3}}, r"sources\.a\.version is 3: must be one of 1, 2"),
        ({"a": {"kind": "folder"}}, r"sources\.a\.root is missing"),
        ({"a": {"kind": "tinyvirat"}, "b": {"kind": "tinyvirat"}}, r"sources\.b repeats tinyvirat, which is a already"),
    ],
)
def test_invalid_entry_is_named(entries, error):
    with pytest.raises(ParamError, match=error):
        sources.parse(entries)


def test_several_folders_are_allowed():
    entries = {name: {"kind": "folder", "root": name} for name in "ab"}
    assert [entry.root for entry in sources.parse(entries).values()] == ["a", "b"]


def test_kinetics_and_its_subset_are_one_source(project):
    for split in ("train", "val"):
        path = project.root / f"mirror/mini-kinetics-200/{split}_ytid_list.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 11)
    project.set(corpus="mirror", sources=ALL)
    assert [source.name for source in sources.create(load())] == ["k", "t", "f"]
    project.set(sources={"m": {"kind": "minikinetics200"}})
    assert [source.name for source in sources.create(load())] == ["m"]


def test_only_hosted_sources_need_hosts(project):
    assert not sources.needs_hosts(load())
    project.set(sources=ALL)
    assert sources.needs_hosts(load())
