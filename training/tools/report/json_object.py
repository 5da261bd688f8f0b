"""A JSON object of a metrics file, read field by field; a field of another type than expected is an error that names it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import WorkError
from training.tools.report.results import Estimate


class JsonObject:
    """A JSON object of a metrics file. All methods raise WorkError for a field that is missing or of another type."""

    def __init__(self, path: Path, values: Mapping[str, Any], key: str = "") -> None:
        self._path, self.values, self._key = path, values, key

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self.values

    def number(self, name: str) -> float | None:
        """A number; None where the file has null."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self._error(name, f"is {_short(value)}")
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """As `number`; None as well where the field is missing."""
        return self.number(name) if self.has(name) else None

    def count(self, name: str) -> int:
        """A whole number."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(name, f"is {_short(value)}")
        return value

    def optional_count(self, name: str) -> int | None:
        """As `count`; None where the field is missing or null."""
        return self.count(name) if self.values.get(name) is not None else None

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._error(name, f"is {_short(value)}")
        return value

    def estimate(self, name: str) -> Estimate:
        """Of the fields `name` and `name`_ci95."""
        return Estimate(self.number(name), self.optional_number(f"{name}_ci95"))

    def optional_estimate(self, name: str) -> Estimate:
        """As `estimate`; without a mean where the field is missing."""
        return self.estimate(name) if self.has(name) else Estimate(None)

    def mean(self) -> Estimate:
        """Of the fields `mean` and `ci95`."""
        return Estimate(self.number("mean"), self.optional_number("ci95"))

    def child(self, name: str) -> "JsonObject":
        """The object in a field."""
        value = self._get(name)
        if not isinstance(value, dict):
            raise self._error(name, f"is {_short(value)}")
        return JsonObject(self._path, value, f"{self._key}{name}.")

    def items(self, name: str | None = None) -> Iterator[tuple[str, "JsonObject"]]:
        """The objects in this one, or in the field `name` if there is one."""
        if name is not None:
            yield from self.child(name).items() if self.has(name) else ()
            return
        for key, value in self.values.items():
            if isinstance(value, dict):
                yield key, self.child(key)

    def rows(self, name: str) -> Iterator["JsonObject"]:
        """The objects of a list."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._error(name, "is no list of objects")
        for place, item in enumerate(value):
            yield JsonObject(self._path, item, f"{self._key}{name}[{place}].")

    def share(self, key: str) -> float:
        """A key that is a share, from 0 to 1."""
        try:
            value = float(key)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise self._error(key, "is no share")
        return value

    def whole(self, key: str) -> int:
        """A key that is a whole number, such as a tick."""
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise self._error(key, "is no whole number")
        return int(key)

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise self._error(name, "is missing")
        return self.values[name]

    def _error(self, name: str, defect: str) -> WorkError:
        return WorkError(
            f"{self._path} has results of another version ({self._key}{_short(name)} {defect}): run its stage again"
        )


def read_object(path: Path) -> JsonObject | None:
    """The object in a file; None if there is no such file.

    Raises:
        WorkError: the file is damaged.
    """
    try:
        content = json.loads(path.read_bytes(), parse_constant=_not_json)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise WorkError(f"{path} is damaged: run its stage again")
    return JsonObject(path, content)


def _not_json(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _short(value: object) -> str:
    return repr(value)[:40] if not isinstance(value, str) or len(value) > 40 else value
