"""Training on machines that have torch, timm, numpy, pandas, pyarrow, OpenCV, tqdm and PyYAML only."""

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.training import toy

INSTALLED = ("torch", "timm", "numpy", "pandas", "pyarrow", "opencv-python-headless", "tqdm", "pyyaml")
# Required by torch, whose parts that training uses do not import them.
MISSING = {"fsspec", "jinja2"}

# Modules that are not allowed are not found, as if they were not installed.
RUN = """
import json, runpy, sys
from importlib.machinery import PathFinder

allowed = frozenset(json.loads(sys.argv[1]))

class AllowedOnly(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top.startswith("_sysconfigdata"):
            return super().find_spec(name, path, target)

sys.meta_path[:] = [AllowedOnly if finder is PathFinder else finder for finder in sys.meta_path]
commands = json.loads(sys.argv[2])
for module, *arguments in commands:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


def requirements(names: Iterable[str]) -> set[str]:
    """Distributions and, recursively, what they require here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found | MISSING:
            continue
        try:
            needed = [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        waiting += [item.name for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    return found


def run_with(distributions: set[str], *commands: list[str], cwd) -> subprocess.CompletedProcess[str]:
    """Run modules, each with its arguments, in one process that can import the standard library and `distributions` only."""
    own = {"common", "training"}
    modules = {
        module
        for module, names in packages_distributions().items()
        if distributions & {canonicalize_name(name) for name in names}
    }
    allowed = sorted(own | modules | sys.stdlib_module_names)
    return toy.run_python(cwd, "-c", RUN, json.dumps(allowed), json.dumps(commands))


@pytest.fixture(scope="module")
def torch_only() -> set[str]:
    return requirements(INSTALLED)


def test_packages_of_the_pipeline_and_of_tests_are_not_among_them(torch_only):
    assert not torch_only & {"dvclive", "webdataset", "fsspec", "jinja2", "av", "ray", "transformers", "requests"}


def test_pretrain_stage3_and_evaluate_run_and_the_others_import(torch_only, tmp_path):
    toy.write_shards(tmp_path, toy.orbit_clips())
    methods = ["mann_pretrained", "nearest_mean_pretrained"]
    toy.write_params(tmp_path, evaluate__episodes=20, stage3__methods=methods)
    stages = [["training", stage] for stage in ("pretrain", "stage3", "evaluate")]
    imported = [["training.stage1"], ["training.stage2"], ["training.tools.latents"]]
    done = run_with(torch_only, *stages, *imported, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = {path.stem for path in (tmp_path / "metrics").iterdir()}
    assert written == {"pretrain", "stage3", "evaluate"}
    assert (tmp_path / "plots/pretrain.tsv").exists()
    assert not (tmp_path / "dvclive").exists()


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["export-latents", "-o", "a.npy", "--model", "small_2x8x8", "--weights", "s3://bucket/model.pt"], "fsspec"),
        (["report"], "jinja2"),
    ],
)
def test_a_command_that_needs_another_package_names_it_in_one_line(torch_only, tmp_path, arguments, package):
    toy.write_shards(tmp_path, toy.orbit_clips(classes=2, held_out=1, per_class=1))
    toy.write_params(tmp_path)
    failed = run_with(torch_only, ["training", *arguments], cwd=tmp_path)
    assert failed.returncode == 1
    (line,) = [line for line in failed.stderr.splitlines() if line]
    assert line.startswith("error: ")
    assert package in line
    assert "pip install" in line
