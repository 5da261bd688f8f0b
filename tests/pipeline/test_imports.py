"""Modules that importing the pipeline loads: no torch, and nothing heavy for `--help`."""

import re
import subprocess
import sys

from tests.conftest import REPO


def modules_loaded_by(code: str) -> set[str]:
    """Top-level modules of a fresh interpreter after `code`."""
    code += "\nimport sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_no_pipeline_module_loads_torch():
    names = [
        ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
        for path in (REPO / "pipeline").rglob("*.py")
        if path.name != "__main__.py"
    ]
    loaded = modules_loaded_by(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert "av" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "training"}


def test_help_loads_nothing_heavy():
    code = "import pipeline.__main__ as command\nprint(command.parser().format_help())"
    assert not modules_loaded_by(code) & {"torch", "numpy", "cv2", "av", "pyarrow"}


def test_help_lists_every_stage():
    result = subprocess.run(
        [sys.executable, "-m", "pipeline", "--help"], cwd=REPO, capture_output=True, text=True, check=True
    )
    stages = "download trim resample resize merge split shard verify show stats retry"
    assert all(re.search(rf"^\s+{stage}\b", result.stdout, re.MULTILINE) for stage in stages.split())
