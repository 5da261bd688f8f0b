"""What the project's HTML reports share: layout, style, tables and bar charts. Tools use it; no stage does (.dvcignore)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.params import PARAMS
from common.redact import redact, redact_params

_HERE = Path(__file__).parent
_LARGEST = 20


@dataclass(frozen=True)
class Bar:
    """One line of a chart."""

    label: str
    value: int


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars under a title, in the colour of a split."""

    title: str
    bars: Sequence[Bar]
    colour: str = "train"


def largest(split: str, classes: Sequence[Bar]) -> BarChart:
    """The paper's Figure 2: the classes of a split with most clips."""
    shown = sorted(classes, key=lambda bar: (-bar.value, bar.label))[:_LARGEST]
    return BarChart(f"{split}: the {len(shown)} classes with most clips, of {len(classes):,}", shown, split)


def make_environment(folder: Path) -> Environment:
    """The templates of a report, which may extend `page.html.jinja` and import `macros.html.jinja`.

    Everything that they insert is escaped, except the style sheets and the script.

    Args:
        folder: of the report's code, with `templates/`, `style.css` and `script.js`.
    """
    environment = Environment(
        loader=FileSystemLoader([folder / "templates", _HERE / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.globals["style"] = "".join((path / "style.css").read_text(encoding="utf-8") for path in (_HERE, folder))
    environment.globals["script"] = (folder / "script.js").read_text(encoding="utf-8")
    return environment


def shown_params() -> str:
    """The text of params.yaml without credentials; without its comments if a param had to be changed for that."""
    text = PARAMS.read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    shown = redact_params(values)
    return redact(text) if shown == values else yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)
