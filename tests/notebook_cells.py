"""Runs the code cells of a notebook without Jupyter: `python notebook_cells.py NOTEBOOK` prints what each cell shows, as JSON.

A cell shows the value of its last expression, as in Jupyter: here its type, its text, and the PNG that it would be shown as.
"""

import ast
import base64
import json
import sys
from pathlib import Path
from typing import Any


def code_cells(notebook: Path) -> list[str]:
    """The source of every code cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run(cells: list[str]) -> list[dict[str, str] | None]:
    """What each cell shows; the cells share their names, and an error of a cell ends the run."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_show(_run(cell, f"cell {number}", names)) for number, cell in enumerate(cells)]


def _run(cell: str, name: str, names: dict[str, Any]) -> object:
    body = ast.parse(cell, name).body
    last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
    if last is not None:
        body.pop()
    exec(compile(ast.Module(body, []), name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), names)


def _show(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    picture = value._repr_png_() if hasattr(value, "_repr_png_") else b""
    text = value.to_json() if hasattr(value, "to_json") else repr(value)
    return {"type": type(value).__name__, "text": text, "png": base64.b64encode(picture).decode()}


if __name__ == "__main__":
    print(json.dumps(run(code_cells(Path(sys.argv[1])))))
