"""One spelling for what is meant as one class."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WorkError
from pipeline.composite.labels import ALIASES, key, read_aliases, unify

NFC, NFD = "café table", unicodedata.normalize("NFD", "café table")


def test_spellings_of_one_label_are_one_class_named_by_the_commonest():
    labels = ["Riding", "riding", "riding", " riding  ", NFD, NFC, NFD, "walking"]
    assert unify(labels, {}) == {
        "Riding": "riding",
        "riding": "riding",
        " riding  ": "riding",
        NFD: NFC,
        NFC: NFC,
        "walking": "walking",
    }


def test_ties_go_by_code_point_and_order_does_not_matter():
    assert unify(["b", "B"], {}) == unify(["B", "b"], {}) == {"b": "B", "B": "B"}


def test_an_alias_renames_every_spelling_of_its_label():
    aliases = {key("massaging persons head"): "massaging person's head"}
    labels = ["Massaging  persons head", "massaging person's head"]
    assert set(unify(labels, aliases).values()) == {"massaging person's head"}


@given(st.lists(st.text(min_size=1).filter(str.strip), max_size=20))
def test_every_label_has_one_name_and_equal_keys_have_equal_names(labels):
    names = unify(labels, {})
    assert names.keys() == set(labels)
    for one in labels:
        for other in labels:
            assert (names[one] == names[other]) == (key(one) == key(other))


def test_the_projects_own_aliases_are_in_order():
    assert read_aliases(ALIASES)[key("massaging persons head")] == "massaging person's head"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n", "its first line must be label,class_name,reason"),
        ("label,class_name,reason\nx,y,\n", "line 2: label, class_name and reason must all be given"),
        ("label,class_name,reason\nx,y,r\nX,z,r\n", "line 3: 'X' has two names"),
        ("label,class_name,reason\nx,y,r\ny,z,r\n", "'y' is the name of one class and the alias of another"),
        ('label,class_name,reason\n"x,y,r\n', "is no CSV file"),
        (b"\xff\xfe", "is no CSV file"),
    ],
)
def test_a_bad_alias_file_is_refused(tmp_path, text, said):
    path = tmp_path / "aliases.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WorkError) as caught:
        read_aliases(path)
    assert said in str(caught.value)


def test_a_missing_alias_file_is_named(tmp_path):
    with pytest.raises(WorkError, match=r"merge.aliases: .*none.csv"):
        read_aliases(tmp_path / "none.csv")
