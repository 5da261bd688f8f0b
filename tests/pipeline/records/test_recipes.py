"""Every recipe of the data dictionary runs on a dataset."""

import os
import re
import subprocess
import sys

import pytest

from pipeline.records.dictionary import RECIPES

BLOCKS = re.findall(r"^(\S[^\n]*)\n\n```(sql|python)\n(.*?)^```$", RECIPES.read_text(), re.MULTILINE | re.DOTALL)


def test_all_code_blocks_of_the_recipes_are_tested():
    assert len(BLOCKS) == RECIPES.read_text().count("```") // 2 > 5


@pytest.mark.parametrize(("language", "recipe"), [block[1:] for block in BLOCKS], ids=[block[0] for block in BLOCKS])
def test_recipe_prints_a_result(dataset, tmp_path, language, recipe):
    if language == "sql":
        recipe = f"import duckdb\nprint(duckdb.sql({recipe!r}).fetchall() is not None)"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", recipe], cwd=dataset.root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
