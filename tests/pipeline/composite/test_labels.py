"""One class name for all spellings of a label."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WorkError
from pipeline.composite.labels import ALIASES, class_names, key, read_aliases

NFC, NFD = "café table", unicodedata.normalize("NFD", "café table")


def test_spellings_of_one_label_are_one_class_named_by_the_most_frequent_one():
    labels = ["Riding", "riding", "riding", " riding  ", NFD, NFC, NFD, "walking"]
    assert class_names(labels, {}) == {
        "Riding": "riding",
        "riding": "riding",
        " riding  ": "riding",
        NFD: NFC,
        NFC: NFC,
        "walking": "walking",
    }


def test_ties_between_spellings_go_by_code_point():
    assert class_names(["b", "B"], {}) == class_names(["B", "b"], {}) == {"b": "B", "B": "B"}


def test_alias_renames_every_spelling_of_its_label():
    aliases = {key("massaging persons head"): "massaging person's head"}
    labels = ["Massaging  persons head", "massaging person's head"]
    assert set(class_names(labels, aliases).values()) == {"massaging person's head"}


@given(st.lists(st.text(min_size=1).filter(str.strip), max_size=20))
def test_labels_have_equal_names_if_and_only_if_their_keys_are_equal(labels):
    names = class_names(labels, {})
    assert names.keys() == set(labels)
    for one in labels:
        for other in labels:
            assert (names[one] == names[other]) == (key(one) == key(other))


def test_committed_alias_file_is_valid():
    assert read_aliases(ALIASES)[key("massaging persons head")] == "massaging person's head"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n", "its first line must be label,class_name,reason"),
        ("label,class_name,reason\nx,y,\n", "line 2: label, class_name and reason must all be given"),
        ("label,class_name,reason\nx,y,r\nX,z,r\n", "line 3: 'X' has another class_name above"),
        ("label,class_name,reason\nx,y,r\ny,z,r\n", "'y' is both a class_name and a label with another class_name"),
        ('label,class_name,reason\n"x,y,r\n', "is not a CSV file"),
        (b"\xff\xfe", "is not a CSV file"),
    ],
)
def test_malformed_alias_file_is_rejected(tmp_path, text, message):
    path = tmp_path / "aliases.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WorkError) as caught:
        read_aliases(path)
    assert message in str(caught.value)


def test_missing_alias_file_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"merge.aliases: .*none.csv"):
        read_aliases(tmp_path / "none.csv")
