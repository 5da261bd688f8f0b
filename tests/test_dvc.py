"""dvc.yaml agrees with the code: a stage depends on everything that it imports, so an edit reruns what it changes."""

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from common import command
from pipeline import __main__ as pipeline
from tests.conftest import REPO
from tests.imports import PACKAGES, closure, files
from training import __main__ as training

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]


def module_of(stage: str) -> Path:
    """The stage's module, without suffix, from its command `./run PACKAGE MODULE`."""
    package, module = STAGES[stage]["cmd"].removeprefix("./run ").split()
    return REPO / package / module


def units(stage: str) -> set[str]:
    """The stage's imports as DVC dependencies: a folder of a package whole, a module beside the folders as a file.

    Whole, because data files of a folder (aliases.csv, templates) are not imported.
    """
    found = set()
    for file in closure(module_of(stage).with_suffix(".py")):
        package, *rest = file.relative_to(REPO).parts
        if package == "common":
            found.add(package)
        elif rest != ["__init__.py"]:  # test_package_files_hold_a_docstring_only
            found.add("/".join([package, rest[0]]))
    return found


def code_dependencies(stage: str) -> set[str]:
    """The stage's `deps` in dvc.yaml that are code of this project."""
    return {dependency for dependency in STAGES[stage]["deps"] if dependency.split("/")[0] in PACKAGES}


def outputs(stage: str) -> set[str]:
    """Paths of a stage's outs, metrics and plots."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, [])]
    return {path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])}


def as_yaml(stage: str) -> str:
    """The stage's `deps` computed from its imports, to paste into dvc.yaml."""
    data = [dependency for dependency in STAGES[stage]["deps"] if dependency.split("/")[0] not in PACKAGES]
    own = str(module_of(stage).with_suffix(".py").relative_to(REPO))
    code = [own, *sorted(units(stage) - {own})]
    deps = textwrap.fill(", ".join(code + data), 120, initial_indent=" " * 6 + "[", subsequent_indent=" " * 7) + "]"
    return f"    deps:\n{deps}"


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_its_import_closure(stage):
    assert code_dependencies(stage) == units(stage), f"{stage} in dvc.yaml has to have\n{as_yaml(stage)}"


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_outputs_of_earlier_stages_and_on_committed_files_only(stage):
    names = list(STAGES)
    earlier = {path for name in names[: names.index(stage)] for path in outputs(name)}
    others = set(STAGES[stage]["deps"]) - code_dependencies(stage) - earlier
    assert others == ({"manifests/excluded.csv"} if stage in ("merge", "verify") else set())
    assert all((REPO / path).is_file() for path in others)


@pytest.mark.parametrize("stage", STAGES)
def test_description_is_the_first_sentence_of_the_stage_module(stage):
    text = command.summary(module_of(stage))
    assert STAGES[stage]["desc"] == text, f"{stage} in dvc.yaml has to have\n    desc: {json.dumps(text)}"


def test_download_depends_on_every_key_of_its_section_that_decides_what_is_downloaded():
    section = yaml.safe_load((REPO / "params.yaml").read_text())["download"]
    only_how = {"yt_dlp", "tinyvirat_ca", "max_mb_per_s", "disk_gb"}
    listed = [name.removeprefix("download.") for name in STAGES["download"]["params"] if "." in name]
    assert set(listed) == set(section) - only_how
    assert not only_how & set(section["sample"])


def test_every_command_line_stage_is_a_stage_of_dvc():
    commands = [f"./run pipeline {name}" for name in pipeline.STAGES]
    commands += [f"./run training {name}" for name in training.STAGES]
    assert [stage["cmd"] for stage in STAGES.values()] == commands


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_removes_no_output_before_a_stage_runs(stage):
    """The stage may not start (no environment, a wrong param); it replaces its outputs itself."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in STAGES[stage].get(kind, [])]
    assert entries
    for entry in entries:
        ((_, options),) = entry.items()
        assert options["persist"] is True, entry


def test_only_the_command_lines_and_the_sources_import_by_name():
    """Imports by a computed name are invisible to the import closure, which adds the modules of `pipeline.sources` itself."""
    by_name = {
        str(file.relative_to(REPO))
        for file in files(*PACKAGES)
        if "import_module" in file.read_text() or "__import__" in file.read_text()
    }
    assert by_name == {"pipeline/__main__.py", "training/__main__.py", "pipeline/sources/__init__.py"}


@pytest.mark.parametrize("package", ["pipeline", "training"])
def test_package_files_hold_a_docstring_only(package):
    """They run in every stage and are in no stage's `deps`."""
    (docstring,) = ast.parse((REPO / package / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)


def test_bytecode_does_not_change_a_dependency():
    """Python writes __pycache__ into folders that are dependencies."""
    dvc = Path(sys.executable).with_name("dvc")
    path = "pipeline/video/__pycache__/decode.cpython-311.pyc"
    result = subprocess.run([dvc, "check-ignore", path], cwd=REPO, capture_output=True, text=True)
    assert result.stdout.strip() == path


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_what_dvcignore_leaves_out_of_common(stage):
    assert "/common/pages/\n" in (REPO / ".dvcignore").read_text()
    assert not [file for file in closure(module_of(stage).with_suffix(".py")) if "pages" in file.parts]
