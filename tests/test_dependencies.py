"""pyproject.toml declares what the code imports and nothing else; requirements.txt pins it, requirements-data.txt a part of it."""

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
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED_EXTRAS = ("cluster", "text", "training", "youtube")  # by `make setup`
PACKAGES_OF_THE_CODE = PROJECT["dependencies"] + [line for extra in INSTALLED_EXTRAS for line in EXTRAS[extra]]
DEV = [line for group in GROUPS.values() for line in group if isinstance(line, str)]
LOCK, DATA_LOCK = (
    [line for line in (REPO / name).read_text().splitlines() if line]
    for name in ("requirements.txt", "requirements-data.txt")
)
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
        name: str(file) for name, file in imported(*PACKAGES).items() if name not in names(PACKAGES_OF_THE_CODE)
    }
    assert undeclared == {}


def test_every_declared_dependency_is_imported_or_needed_by_one_that_is():
    declared = names(PACKAGES_OF_THE_CODE)
    assert declared - set(imported(*PACKAGES)) == set(INDIRECT)


@pytest.mark.parametrize(("name", "user"), INDIRECT.items())
def test_indirect_dependency_is_required_by_its_user(name, user):
    assert name in names(requires(user))


def test_common_imports_pyyaml_and_for_pages_jinja2_and_for_completion_shtab():
    found = imported("common")
    assert set(found) == {"pyyaml", "jinja2", "shtab"}
    assert found["jinja2"] == REPO / "common/pages/__init__.py"
    assert found["shtab"] == REPO / "common/completion.py"


def test_pipeline_imports_no_torch_and_training_no_pyav():
    assert "torch" not in imported("pipeline")
    assert "av" not in imported("training")


def test_every_import_of_tests_and_benchmarks_is_declared():
    declared = names(PACKAGES_OF_THE_CODE + DEV)
    assert {name: str(file) for name, file in imported("tests", "benchmarks").items() if name not in declared} == {}


def pins(lock: list[str]) -> dict[str, str]:
    """The version of each package in a list of pins that is installed on this machine."""
    found = {}
    for line in lock:
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate():
            ((operator, version),) = [(specifier.operator, specifier.version) for specifier in pin.specifier]
            assert operator == "=="
            found[canonicalize_name(pin.name)] = version
    return found


def assert_allowed(requirements: list[str], lock: list[str]) -> None:
    """Every requirement is in the lock, in a version that it allows."""
    pinned = pins(lock)
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_lock_pins_every_declared_dependency_to_an_allowed_version():
    assert_allowed(PACKAGES_OF_THE_CODE + DEV + PYPROJECT["build-system"]["requires"], LOCK)


def test_lock_of_the_data_stages_pins_what_they_the_graph_and_the_build_need():
    assert_allowed(PROJECT["dependencies"] + GROUPS["graph"] + PYPROJECT["build-system"]["requires"], DATA_LOCK)


def test_lock_of_the_data_stages_is_a_part_of_the_other_with_the_same_versions():
    assert pins(DATA_LOCK).items() < pins(LOCK).items()


def test_lock_of_the_data_stages_is_closed():
    """What its packages require is in it, too, so that it is installed without resolving anything."""
    pinned, missing = pins(DATA_LOCK), set()
    for name in pinned:
        for requirement in map(Requirement, requires(name) or ()):
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and canonicalize_name(requirement.name) not in pinned:
                missing.add((name, requirement.name))
    assert missing == set()


@pytest.mark.parametrize(
    "package", ["torch", "torchvision", "timm", "triton", "ray", "imageio-ffmpeg", "pandas", "scipy"]
)
def test_lock_of_the_data_stages_has_nothing_large_that_they_can_do_without(package):
    assert package in pins(LOCK)
    assert package not in pins(DATA_LOCK)


def test_python_versions_are_those_of_the_classifiers():
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert versions[0] == PROJECT["requires-python"].removeprefix(">=")


@pytest.mark.parametrize("lock", [LOCK, DATA_LOCK], ids=["all", "data"])
def test_lock_names_no_package_index(lock):
    assert not [line for line in lock if "://" in line or re.match(r"-", line)]
