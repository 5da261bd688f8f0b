"""README, the architecture page and the website's navigation agree with the files."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from pipeline.records.failures import TRANSIENT, Failure
from tests.conftest import REPO
from tests.imports import PACKAGES

PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), REPO / "manifests/README.md"])


def folders(parent: Path) -> set[str]:
    """Folders of `parent` that belong to the repository, as `path/`: not hidden, not ignored by git."""
    ignored = [line for line in (REPO / ".gitignore").read_text().splitlines() if line.endswith("/")]
    entries = [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    names = [f"{path.relative_to(REPO)}/" for path in entries]
    return {name for name in names if f"/{name}" not in ignored and f"{Path(name).name}/" not in ignored}


def test_architecture_page_names_every_folder_and_no_other():
    section = (REPO / "docs/architecture.md").read_text().partition("## Where everything is")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\S+/)` \|", section, re.MULTILINE))
    assert named == folders(REPO) | folders(REPO / "pipeline") | folders(REPO / "training")


def test_layers_on_the_architecture_page_are_those_of_import_linter():
    config = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = chain.from_iterable(contract["layers"] for contract in config["contracts"])
    modules = {module.strip() for layer in layers for module in layer.split("|")} - {"__main__"}
    picture = (REPO / "docs/pictures/layers.svg").read_text()
    assert modules == {
        name.removesuffix(".py") for name in re.findall(r'class="(?:name|title)"[^>]*>([^<]+)<', picture)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_between_pages_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md", "docs/architecture.md"]
)
def test_paths_and_modules_in_backticks_exist(page):
    code = set(re.findall(r"`([^`\n]+)`", (REPO / page).read_text()))
    paths = {
        name
        for name in code
        if re.fullmatch(r"(common|pipeline|training|tests|docs|benchmarks|\.github)/[a-z0-9_./-]*", name)
    }
    modules = {name for name in code if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.[a-z_0-9]+)+", name)}
    missing = {path for path in paths if not (REPO / path).exists() and "hands" not in path}  # the example of a source
    for name in modules:
        path = REPO.joinpath(*name.split("."))
        if not (path.is_dir() or path.with_suffix(".py").is_file()):
            missing.add(name)
    assert missing == set()


def test_failure_page_has_every_code_and_marks_the_transient_ones():
    rows = re.findall(r"^\| `(\w+)` \| (\*transient\*)?", (REPO / "docs/failures.md").read_text(), re.MULTILINE)
    assert {code for code, _ in rows} == set(Failure)
    assert {code for code, transient in rows if transient} == set(TRANSIENT)


def test_make_help_lists_every_target():
    makefile = (REPO / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)).split())
    assert targets == set(re.findall(r"^([a-z0-9-]+):[^\n]*## ", makefile, re.MULTILINE))


def test_ci_runs_lint_types_docs_and_tests():
    assert "make lint typecheck docs test" in (REPO / ".ci/run").read_text()
