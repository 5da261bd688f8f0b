"""corpus: the one switch between the embedded sample, the full datasets, and a mirror of them."""

import re

from common.errors import ParamError
from common.files import write_bytes
from common.params import PARAMS


def switch(corpus: str) -> None:
    """Set `corpus:` in params.yaml to `sample`, `full`, or a folder or URL; everything else in the file stays.

    Raises:
        ParamError: params.yaml has no `corpus:` line, or the value would not stay one line.
    """
    if not corpus or not corpus.isprintable():
        raise ParamError(f"corpus is {corpus!r}: must be sample, full, or a folder or URL of a mirror")
    text = PARAMS.read_text(encoding="utf-8")
    plain = re.fullmatch(r"[\w./:~+-]+", corpus)
    value = corpus if plain else "'" + corpus.replace("'", "''") + "'"
    changed, lines = re.subn(r"^corpus:[^#\n]*?(?=\s*(#|$))", lambda _: f"corpus: {value}", text, flags=re.MULTILINE)
    if lines != 1:
        raise ParamError("params.yaml has no line that starts with `corpus:`")
    if changed != text:
        write_bytes(PARAMS, changed.encode())
