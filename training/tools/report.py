"""report: the results of all stages beside the paper's, in one self-contained page."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from common.errors import WorkError
from common.files import write_bytes
from common.paths import METRICS, PLOTS

OUT = Path("reports/results.html")
FIGURE = PLOTS / "stage1_reconstruction.png"


def main() -> None:
    """Read metrics/*.json and stage 1's figure; write reports/results.html. Stages without metrics are shown as not run.

    Raises:
        WorkError: there are no metrics at all, or they are damaged or of another version.
    """
    if not any(METRICS.glob("*.json")):
        raise WorkError("metrics/ is empty: run `make evaluate` first")
    found = {name: _read(METRICS / f"{name}.json") for name in ("evaluate", "stage1", "stage2")}
    try:
        page = render(found, FIGURE.read_bytes() if FIGURE.exists() else None)
    except (jinja2.UndefinedError, TypeError) as error:
        raise WorkError(f"metrics/ has results of another version ({error}): run the stages again") from None
    write_bytes(OUT, page.encode())
    print(f"{OUT}: written")


def render(metrics: Mapping[str, Mapping[str, Any] | None], figure: bytes | None) -> str:
    """The page as HTML.

    Args:
        metrics: contents of the metrics files of `evaluate`, `stage1` and `stage2`; None for one that has not been run.
        figure: stage 1's reconstructions as a PNG file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    methods = {name: result for name, result in (metrics["evaluate"] or {}).items() if isinstance(result, dict)}
    encoded = None if figure is None else base64.b64encode(figure).decode()
    return environment.get_template("results.html.jinja").render(metrics, methods=methods, figure=encoded)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise WorkError(f"{path} is damaged: run its stage again")
    return content
