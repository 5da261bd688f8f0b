"""corpus: set `corpus:` in params.yaml to the embedded sample, the full datasets, or a mirror of them."""

import re

import yaml

from common.errors import ParamError
from common.files import sweep_beside, write_bytes
from common.params import PARAMS

_LINE = re.compile(r"^corpus:\s*('(?:[^'\n]|'')*'|[^#\n]*?)(?=\s*(#|$))", re.MULTILINE)  # without trailing comment


def main(corpus: str) -> None:
    """Write `sample`, `full`, or a folder or URL into the `corpus:` line; the rest of the file stays as it is.

    Raises:
        ParamError: params.yaml is missing or has no `corpus:` line, or the value is empty or not printable.
    """
    if not corpus or not corpus.isprintable():
        raise ParamError(f"corpus is {corpus!r}: must be sample, full, or a folder or URL of a mirror")
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamError(f"{PARAMS} is not here: run from the project's top folder") from None
    changed, lines = _LINE.subn(lambda _: f"corpus: {_yaml_scalar(corpus)}", text)
    if lines != 1:
        raise ParamError(f"{PARAMS} has no line that starts with `corpus:`")
    if changed != text:
        sweep_beside(PARAMS)
        write_bytes(PARAMS, changed.encode())


def _yaml_scalar(text: str) -> str:
    """`text` as YAML: plain where YAML reads it back as the same text, else in single quotes."""
    if re.fullmatch(r"[\w./:~+-]+", text) and yaml.safe_load(text) == text:
        return text
    return "'" + text.replace("'", "''") + "'"
