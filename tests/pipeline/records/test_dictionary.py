"""manifests/README.md, the data dictionary, follows the row types."""

import re

import pytest

from pipeline.records.dictionary import dictionary
from pipeline.records.rows import ROW_TYPES
from pipeline.records.schema import schema
from tests.conftest import REPO


def test_the_committed_dictionary_is_up_to_date():
    text = (REPO / "manifests/README.md").read_text(encoding="utf-8")
    assert text == dictionary(), "run `python -m pipeline.records.dictionary`"


@pytest.mark.parametrize("kind", ROW_TYPES, ids=lambda kind: kind.MANIFEST)
def test_every_column_has_a_meaning(kind):
    section = dictionary().split(f"## {kind.MANIFEST}.parquet")[1].split("\n## ")[0]
    for field in schema(kind):
        meaning = re.search(rf"^\| `{field.name}` \| [^|]+ \| ([^|]+) \|$", section, re.MULTILINE)
        assert meaning, field.name
        assert len(meaning[1]) > 10
        assert field.name == field.name.lower()
