"""Digests of published weights."""

import re

import pytest

from common.errors import WorkError
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
