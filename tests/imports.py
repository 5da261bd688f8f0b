"""The import graph of the packages, read from source with `ast`."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import REPO

PACKAGES = ("common", "pipeline", "training")


def files(*folders: str) -> list[Path]:
    """All Python files of top-level folders."""
    return sorted(path for folder in folders for path in (REPO / folder).rglob("*.py"))


def imported_names(file: Path) -> Iterator[str]:
    """Dotted names of all absolute imports of a file, function-level ones included; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(name: str) -> Path | None:
    """The file of a module or package of this project by its dotted name; None for other names."""
    path = REPO.joinpath(*name.split("."))
    if name.partition(".")[0] not in PACKAGES:
        return None
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def closure(file: Path) -> set[Path]:
    """The files that run when `file` is imported: its imports, their imports, and the packages around them."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        imported = set(imported_names(current))
        if "pkgutil" in imported:  # a package that imports all modules of its folder
            waiting += [*current.parent.glob("*.py"), *current.parent.glob("*/__init__.py")]
        for name in imported:
            parts = name.split(".")
            names = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
            waiting += filter(None, map(file_of, names))
    return found
