"""The packages can be installed and imported from any folder."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.imports import PACKAGES

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The names of the files in the wheel, which is built from a copy because setuptools writes into the source folder."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(REPO / package, source / package, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    code = "import sys\nfrom setuptools.build_meta import build_wheel\nprint(build_wheel('dist'))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (built,) = (source / "dist").iterdir()
    with zipfile.ZipFile(built) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_wheel_holds_every_file_of_the_packages(wheel):
    """Styles, scripts, templates, CSV files and type markers are package data that setuptools has to be told of."""
    files = (path for package in PACKAGES for path in (REPO / package).rglob("*") if path.is_file())
    assert wheel == {str(path.relative_to(REPO)) for path in files if "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_marked_as_typed(package):
    assert (REPO / package / "py.typed").is_file()


def test_public_api_can_be_imported_from_another_folder(tmp_path):
    code = "from training.clips import Clips\nfrom training.models import create_model\nimport training, pipeline\n"
    code += "print(training.__file__, pipeline.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(Path(file).is_relative_to(REPO) for file in result.stdout.split())


def test_version_is_the_newest_of_the_changelog():
    headings = [line.split()[1] for line in (REPO / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert next(version for version in headings if version != "Unreleased") == PROJECT["version"]


def test_version_is_that_of_the_citation():
    assert f"\nversion: {PROJECT['version']}\n" in (REPO / "CITATION.cff").read_text()
