"""pyproject.toml declares what the code imports and nothing else; requirements.txt pins it."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO
from tests.imports import PACKAGES, files, imported_names

PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
LOCK = [line for line in (REPO / "requirements.txt").read_text().splitlines() if line]
OWN = {*PACKAGES, "benchmarks", "tests"}
# Imported by a dependency, not by this code: which one.
INDIRECT = {"aiohttp": "fsspec", "torchvision": "timm", "yt-dlp-ejs": "yt-dlp"}
# Compared with in benchmarks where the user has installed them; the others are the extras `export` and `publish`.
OPTIONAL = {"decord", "torchcodec", "lance", "huggingface_hub"}


def names(requirements: list[str]) -> set[str]:
    """The normalised names of requirements such as `av==18.1.0`."""
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def imported(*folders: str) -> dict[str, Path]:
    """Distributions that files in the folders import, each with one file that does."""
    distributions = packages_distributions()
    found = {}
    for file in files(*folders):
        for name in imported_names(file):
            module = name.partition(".")[0]
            if module in sys.stdlib_module_names | OWN | OPTIONAL:
                continue
            for distribution in distributions.get(module, [module]):
                found[canonicalize_name(distribution)] = file
    return found


def test_every_import_of_the_packages_is_declared():
    undeclared = {
        name: str(file)
        for name, file in imported(*PACKAGES).items()
        if name not in names(PYPROJECT["project"]["dependencies"])
    }
    assert undeclared == {}


def test_every_declared_dependency_is_imported_or_needed_by_one_that_is():
    declared = names(PYPROJECT["project"]["dependencies"])
    assert declared - set(imported(*PACKAGES)) == set(INDIRECT)


@pytest.mark.parametrize(("name", "user"), INDIRECT.items())
def test_indirect_dependency_is_required_by_its_user(name, user):
    assert name in names(requires(user))


def test_common_imports_pyyaml_and_for_pages_jinja2():
    assert set(imported("common")) == {"pyyaml", "jinja2"}
    assert imported("common")["jinja2"] == REPO / "common/pages/__init__.py"


def test_pipeline_imports_no_torch_and_training_no_pyav():
    assert "torch" not in imported("pipeline")
    assert "av" not in imported("training")


def test_every_import_of_tests_and_benchmarks_is_declared():
    declared = names(PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"])
    assert {name: str(file) for name, file in imported("tests", "benchmarks").items() if name not in declared} == {}


def test_lock_pins_every_declared_dependency_to_an_allowed_version():
    pins = {}
    for line in LOCK:
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate():
            ((operator, version),) = [(specifier.operator, specifier.version) for specifier in pin.specifier]
            assert operator == "=="
            pins[canonicalize_name(pin.name)] = version
    declared = PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]
    for requirement in map(Requirement, declared + PYPROJECT["build-system"]["requires"]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_lock_names_no_package_index():
    assert not [line for line in LOCK if "://" in line or re.match(r"-", line)]
