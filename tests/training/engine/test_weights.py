"""Digests of published weights."""

import re

import pytest

from common.errors import WorkError
from tests.training import toy
from training.engine.weights import weights_digest


def test_a_file_s_digest_is_of_its_content_and_not_of_its_name(tmp_path):
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    first, same, other = (weights_digest(str(tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth"))
    assert first == same != other


def test_a_folder_s_digest_is_of_its_weights_and_config(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = weights_digest(str(tmp_path))
    (tmp_path / "README.md").write_text("a page")
    assert weights_digest(str(tmp_path)) == before
    (tmp_path / "config.json").write_text("{}")
    assert weights_digest(str(tmp_path)) != before


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WorkError, match=re.escape(f"{tmp_path / 'none.pth'}: No such file or directory")):
        weights_digest(str(tmp_path / "none.pth"))


PROCESS = """
import contextlib, json
from common import files
from training.engine import distributed
from training.engine.weights import weights_digest

with distributed.joined() as group, contextlib.nullcontext() if group.is_first else files.discarded():
    digest = weights_digest(URL)
with open(f"digest{group.rank}.json", "w") as file:
    json.dump(digest, file)
"""


@pytest.mark.slow
def test_of_several_processes_one_downloads(here):
    (here / "far.pth").write_bytes(b"one")
    (here / "program.py").write_text(PROCESS.replace("URL", repr((here / "far.pth").as_uri())))
    result = toy.run_python(here, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "program.py")
    assert result.returncode == 0, result.stderr
    digests = {(here / f"digest{rank}.json").read_text() for rank in (0, 1)}
    assert digests == {f'"{weights_digest("far.pth")}"'}
    assert len(list((here / "checkpoints/cache").iterdir())) == 1
