"""Mutated tars, gzips and zips: the truth or a typed error, within bounds of memory and disk, and nothing outside."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.conftest import REPO

SLOW = 20_000
BATCH = 5000


def read_mutants(root, seed, first, last):
    """What became of the mutants, see `read_mutants.py`, which runs in a process of its own."""
    command = [sys.executable, "-m", "tests.pipeline.fetch.read_mutants", root, seed, str(first), str(last)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(result):
    assert result["failures"] == []
    for kind in ("tar", "gzip", "zip"):
        ends = Counter(result["counts"][kind])
        assert ends["read"] >= 0.1 * ends.total(), kind  # not everything is refused
        assert ends["read"] <= 0.7 * ends.total(), kind


def test_400_mutants_are_read_truly_or_end_in_a_typed_error(tmp_path):
    check(read_mutants(tmp_path / "root", "fast", 0, 400))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_20000_mutants_are_read_truly_or_end_in_a_typed_error(tmp_path):
    counts, peak = {kind: Counter() for kind in ("tar", "gzip", "zip")}, 0
    for first in range(0, SLOW, BATCH):
        result = read_mutants(tmp_path / str(first), "slow", first, first + BATCH)
        check(result)
        peak = max(peak, result["peak"])
        for kind, ends in result["counts"].items():
            counts[kind] += Counter(ends)
    print({kind: dict(ends.most_common()) for kind, ends in counts.items()}, f"peak {peak / 1e6:.0f} MB")
