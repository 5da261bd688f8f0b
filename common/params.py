"""params.yaml as typed, frozen dataclasses. Unknown keys, wrong types and values out of range are errors before any work.

A section may have a mapping `sample`, whose values replace the section's own with `corpus: sample`. `${NAME}` in a text is
replaced by the environment variable, so that credentials are in no file: dvc.lock records params as they are written.
"""

import difflib
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from common.errors import ParamError
from common.redact import has_password

T = TypeVar("T")
PARAMS = Path("params.yaml")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number, as in `Annotated[int, Range(1, 100)]`."""

    low: float
    high: float = float("inf")

    def text(self) -> str:
        """The bounds in words, for messages."""
        return f"at least {self.low:g}" if self.high == float("inf") else f"from {self.low:g} to {self.high:g}"


Positive = Annotated[int, Range(1)]
Count = Annotated[int, Range(0)]
Fraction = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True)
class Params:
    """The content of params.yaml.

    Args:
        corpus: with its environment variables replaced.
        raw: every section as it is written.
    """

    corpus: str
    raw: Mapping[str, Any]

    def section(self, name: str, kind: type[T]) -> T:
        """The section `name` as an instance of the dataclass `kind`, with the values of its `sample` for the sample corpus.

        Raises:
            ParamError: a key is unknown or missing, or a value has the wrong type or is out of range.
        """
        value = self.raw.get(name)
        if isinstance(value, Mapping):
            overlay = value.get("sample", {})
            if not isinstance(overlay, Mapping):
                raise ParamError(f"params.yaml: {name}.sample is {overlay!r}: must be a mapping of {name}'s own keys")
            unknown = next((key for key in overlay if key not in value), None)
            if unknown is not None:
                raise ParamError(f"params.yaml: {name}.sample.{unknown} is unknown: it overrides no key of {name}")
            value = {option: item for option, item in value.items() if option != "sample"}
            if self.corpus == "sample":
                value |= overlay
        built: T = build(kind, value, name)
        return built


def read(sections: Sequence[str], path: Path = PARAMS) -> Params:
    """Read params.yaml, whose top level must have exactly the keys `sections`; `corpus` is one of them.

    Raises:
        ParamError: the file is missing, is not YAML, or has an unknown or missing section.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamError(f"{path} does not exist: run the command in the project folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, Mapping):
        raise ParamError(f"{path} must be a mapping of sections, not {type(raw).__name__}")
    _check_keys(raw, sections, "", sections)
    corpus = raw["corpus"]
    if not isinstance(corpus, str) or not corpus:
        raise ParamError(f"params.yaml: corpus is {corpus!r}: must be sample, full, or a folder or URL of a mirror")
    return Params(_replace_variables(corpus, "corpus"), raw)


def passwords(value: Any, key: str = "") -> Iterator[str]:
    """The dotted keys of texts, in plain YAML data, that have a password of a URL in clear text."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from passwords(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from passwords(item, f"{key}[{index}]")
    elif isinstance(value, str) and has_password(_VARIABLE.sub("", value)):
        yield key


def build(kind: Any, value: Any, key: str) -> Any:
    """Convert `value` (plain YAML data) to the type `kind`.

    Args:
        kind: a dataclass, a scalar type, or a Literal, Annotated, optional, tuple, list or dict of these.
        key: dotted key of the value, for messages.

    Raises:
        ParamError: naming the key, the value and the allowed values, or the environment variable that is not set.
    """
    if kind is Any:
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, value, key)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        built = build(args[0], value, key)
        for limit in args[1:]:
            if built is not None and not limit.low <= built <= limit.high:
                raise _error(key, value, limit.text())
        return built
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (inner,) = (arg for arg in args if arg is not type(None))
        return build(inner, value, key)
    if origin is Literal:
        if value not in args or isinstance(value, bool) is not isinstance(args[0], bool):
            raise _error(key, value, "one of " + ", ".join(map(str, args)))
        return value
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise _error(key, value, "a list")
        return tuple(build(args[0], item, f"{key}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise _error(key, value, "a mapping with text keys")
        return {name: build(args[1], item, f"{key}.{name}") for name, item in value.items()}
    return _build_scalar(kind, value, key)


def _build_dataclass(kind: type, value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
        raise _error(key, value, "a mapping")
    hints = get_type_hints(kind, include_extras=True)
    required = [field.name for field in fields(kind) if field.default is MISSING]
    _check_keys(value, [field.name for field in fields(kind)], f"{key}.", required)
    try:
        return kind(**{name: build(hints[name], item, f"{key}.{name}") for name, item in value.items()})
    except ValueError as error:  # __post_init__ checks combinations of fields
        raise ParamError(f"params.yaml: {key}: {error}") from None


def _build_scalar(kind: type, value: Any, key: str) -> Any:
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _error(key, value, names[kind])
    if kind is float and value != value:
        raise _error(key, value, names[kind])
    return _replace_variables(value, key) if isinstance(value, str) else kind(value)


def _replace_variables(text: str, key: str) -> str:
    """`text` with the value of the environment variable NAME in place of each `${NAME}`.

    Raises:
        ParamError: one is not set.
    """
    missing = next((name for name in _VARIABLE.findall(text) if name not in os.environ), None)
    if missing is not None:
        raise ParamError(f"params.yaml: {key} is {text!r}: the environment variable {missing} is not set")
    return _VARIABLE.sub(lambda match: os.environ[match[1]], text)


def _check_keys(value: Mapping[Any, Any], allowed: Sequence[str], prefix: str, required: Sequence[str]) -> None:
    for key in value:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else "allowed are " + ", ".join(allowed)
            raise ParamError(f"params.yaml: {prefix}{key} is unknown: {hint}")
    missing = [key for key in required if key not in value]
    if missing:
        raise ParamError(f"params.yaml: {prefix}{missing[0]} is missing")


def _error(key: str, value: Any, allowed: str) -> ParamError:
    return ParamError(f"params.yaml: {key} is {value!r}: must be {allowed}")
