"""Metrics files."""

import math

from tests.training.toy import read_json
from training.engine.metrics import write_metrics


def test_metrics_keep_their_order_and_numbers(here):
    values = {"second": 2, "first": {"mean": 0.5, "clips": 3, "name": "x"}}
    write_metrics("stage9", values)
    content = read_json(here / "metrics/stage9.json")
    assert content == values
    assert list(content) == ["second", "first"]


def test_numbers_that_json_does_not_have_become_null(here):
    write_metrics("stage9", {"ci95": math.inf, "by_tick": {"20": {"mean": math.nan, "ci95": -math.inf}}})
    assert read_json(here / "metrics/stage9.json") == {"ci95": None, "by_tick": {"20": {"mean": None, "ci95": None}}}


def test_temporary_files_of_killed_stages_are_deleted(here):
    for folder in ("metrics", "plots/stage9"):
        (here / folder).mkdir(parents=True)
        (here / folder / ".part-4194304999-loss.tsv").write_bytes(b"half")  # no process has such a number
    write_metrics("stage9", {})
    assert [path.name for path in here.rglob("*") if path.is_file()] == ["stage9.json"]
