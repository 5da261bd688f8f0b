"""Conditions on the columns of clips.parquet, in a subset of SQL: `motion > 0.02 AND duplicate_of IS NULL`.

A condition is parsed here, by its grammar alone, to an expression of `pyarrow.compute`; nothing of it is executed. DuckDB
selects the same clips by `SELECT clip_id FROM 'manifests/clips.parquet' WHERE ...`.

    condition  = conjunction {OR conjunction}
    conjunction = negation {AND negation}
    negation   = NOT negation | "(" condition ")" | test
    test       = COLUMN (= | == | != | <> | < | <= | > | >=) VALUE | COLUMN IS [NOT] NULL
               | COLUMN [NOT] IN "(" VALUE {"," VALUE} ")" | COLUMN (of true and false)
    VALUE      = number | 'text' | TRUE | FALSE
"""

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import ParamError
from pipeline.composite.clip import Clip
from pipeline.params import Merge
from pipeline.records.rows import CompositeRow
from pipeline.records.schema import schema

COLUMNS: Mapping[str, pa.DataType] = {
    field.name: field.type
    for field in schema(CompositeRow)
    if field.name in Clip.__dataclass_fields__ and not pa.types.is_list(field.type)
}
"""Columns that a condition may name: those of clips.parquet that are known before merge decides, but for lists."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*')"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<symbol><=|>=|<>|!=|==|[<>=(),]))"
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_KEYWORDS = {"and", "or", "not", "is", "null", "in", "true", "false"}
_MAX_LENGTH, _MAX_DEPTH = 2000, 50  # characters; parentheses and NOT inside each other

Value = float | int | str | bool


@dataclass(frozen=True)
class Condition:
    """A parsed condition: its text, the columns that it names, and its expression."""

    text: str
    columns: tuple[str, ...]
    expression: pc.Expression

    def failing(self, clips: Sequence[Clip]) -> list[Clip]:
        """The clips for which the condition is not true: it is false or, as in SQL, null."""
        columns = {name: pa.array([getattr(clip, name) for clip in clips], COLUMNS[name]) for name in self.columns}
        table = pa.table({**columns, "": pa.array(range(len(clips)), pa.int64())})
        kept = set(table.filter(self.expression)[""].to_pylist())
        return [clip for number, clip in enumerate(clips) if number not in kept]

    def explain(self, clip: Clip) -> str:
        """Why the condition is not true for a clip: the values of the columns, and the condition."""
        values = ", ".join(f"{name} is {_shown(getattr(clip, name))}" for name in self.columns)
        return f"{values}: merge.where is {self.text}"


def read(settings: Merge) -> Condition | None:
    """`merge.where`, if there is a condition.

    Raises:
        ParamError: as `parse`; also when it names `duplicate_of`, and `merge.near_duplicates` is null.
    """
    if settings.where is None:
        return None
    condition = parse(settings.where)
    if "duplicate_of" in condition.columns and settings.near_duplicates is None:
        raise ParamError(
            "params.yaml: merge.where names duplicate_of, which is null for all clips while merge.near_duplicates is null"
        )
    return condition


def parse(text: str) -> Condition:
    """Parse `merge.where`.

    Raises:
        ParamError: the text is no condition, names an unknown column, or compares a column with a value of another type.
    """
    return _Parser(text).parse()


@dataclass(frozen=True)
class _Token:
    """`kind` is number, text, word, symbol or end."""

    kind: str
    text: str

    @property
    def keyword(self) -> str:
        """The keyword in lower case; empty for other tokens."""
        return self.text.lower() if self.kind == "word" and self.text.lower() in _KEYWORDS else ""


class _Parser:
    """Recursive descent, one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._place = 0
        self._columns: dict[str, None] = {}

    def parse(self) -> Condition:
        expression = self._condition(0)
        if self._next.kind != "end":
            raise self._error(f"{self._next.text!r} where AND, OR or the end is expected")
        return Condition(" ".join(self._text.split()), tuple(self._columns), expression)

    def _condition(self, depth: int) -> pc.Expression:
        expression = self._conjunction(depth)
        while self._accept("or"):
            expression = expression | self._conjunction(depth)
        return expression

    def _conjunction(self, depth: int) -> pc.Expression:
        expression = self._negation(depth)
        while self._accept("and"):
            expression = expression & self._negation(depth)
        return expression

    def _negation(self, depth: int) -> pc.Expression:
        if depth > _MAX_DEPTH:
            raise self._error(f"more than {_MAX_DEPTH} levels of NOT and parentheses")
        if self._accept("not"):
            return ~self._negation(depth + 1)
        if self._accept("("):
            expression = self._condition(depth + 1)
            self._expect(")")
            return expression
        return self._test()

    def _test(self) -> pc.Expression:
        name = self._column()
        column, token = pc.field(name), self._next
        if token.text in _COMPARISONS:
            self._place += 1
            return self._compared(name, token.text)
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return ~column.is_null() if negated else column.is_null()
        negated = self._accept("not")
        if self._accept("in"):
            self._expect("(")
            found = self._compared(name, "=")
            while self._accept(","):
                found = found | self._compared(name, "=")
            self._expect(")")
            return ~found if negated else found
        if not negated and pa.types.is_boolean(COLUMNS[name]):
            return column
        raise self._error(
            f"{name} is followed by {token.text or 'nothing'!r}, must be a comparison, IS [NOT] NULL or IN"
        )

    def _compared(self, name: str, comparison: str) -> pc.Expression:
        expression: pc.Expression = _COMPARISONS[comparison](pc.field(name), pc.scalar(self._value(name, comparison)))
        return expression

    def _column(self) -> str:
        token = self._next
        if token.kind != "word" or token.keyword:
            raise self._error(f"{token.text or 'the end'!r} where a column is expected")
        if token.text not in COLUMNS:
            near = difflib.get_close_matches(token.text, COLUMNS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise self._error(f"there is no column {token.text!r}: {hint}columns are {', '.join(COLUMNS)}")
        self._place += 1
        self._columns[token.text] = None
        return token.text

    def _value(self, name: str, comparison: str) -> Value:
        token, kind = self._next, COLUMNS[name]
        if pa.types.is_boolean(kind):
            if token.keyword in ("true", "false") and comparison in ("=", "==", "!=", "<>"):
                self._place += 1
                return token.keyword == "true"
            raise self._error(f"{name} {comparison} {token.text}: {name} is true or false")
        if pa.types.is_string(kind):
            if token.kind == "text":
                self._place += 1
                return token.text[1:-1].replace("''", "'")
            raise self._error(f"{name} {comparison} {token.text}: {name} is compared with text in single quotes")
        if token.kind == "number":
            self._place += 1
            return int(token.text) if re.fullmatch(r"[-+]?\d{1,18}", token.text) else float(token.text)
        raise self._error(f"{name} {comparison} {token.text}: {name} is compared with a number")

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _accept(self, text: str) -> bool:
        token = self._next
        found = token.keyword == text or (token.kind == "symbol" and token.text == text)
        self._place += found
        return found

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._error(f"{self._next.text or 'the end'!r} where {text.upper()} is expected")

    def _split(self) -> list[_Token]:
        if len(self._text) > _MAX_LENGTH:
            raise self._error(f"it has {len(self._text)} characters, at most {_MAX_LENGTH} are allowed")
        tokens, place, end = [], 0, len(self._text.rstrip())
        while place < end:
            match = _TOKEN.match(self._text, place)
            if match is None:
                raise self._error(f"{self._text[place:].split()[0]!r} is not understood")
            tokens.append(_Token(str(match.lastgroup), match[str(match.lastgroup)]))
            place = match.end()
        return [*tokens, _Token("end", "")]

    def _error(self, problem: str) -> ParamError:
        return ParamError(f"params.yaml: merge.where is {self._text[:200]!r}: {problem}")


def _shown(value: object) -> str:
    return "null" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
