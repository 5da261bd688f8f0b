"""One class name for all spellings of a label."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.errors import WorkError

ALIASES = Path(__file__).with_name("aliases.csv")
_FIELDS = ["label", "class_name", "reason"]


def key(label: str) -> str:
    """The form in which two spellings of one label are equal: NFC, case-folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", label).casefold().split())


def class_names(labels: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """The class name of each label.

    Labels of equal `key` are one class, named by their most frequent spelling (ties by code point). An alias replaces
    the label's name before spellings are counted.
    """
    counts = Counter(labels)
    spellings: dict[str, Counter[str]] = {}
    for label, count in counts.items():
        name = aliases.get(key(label), " ".join(unicodedata.normalize("NFC", label).split()))
        spellings.setdefault(key(name), Counter())[name] += count
    names = {shared: min(variants, key=lambda name: (-variants[name], name)) for shared, variants in spellings.items()}
    return {label: names[key(aliases.get(key(label), label))] for label in counts}


def read_aliases(path: Path = ALIASES) -> dict[str, str]:
    """Read an alias file, a CSV with the columns `label,class_name,reason`: class name by the `key` of the label.

    Raises:
        WorkError: the file is missing or malformed, a label has two class names, or a class name is itself an alias.
    """
    aliases: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if reader.fieldnames != _FIELDS:
                raise WorkError(f"{path}: its first line must be {','.join(_FIELDS)}")
            for number, row in enumerate(reader, 2):
                if not all((row[field] or "").strip() for field in _FIELDS):
                    raise WorkError(f"{path}, line {number}: label, class_name and reason must all be given")
                name = " ".join(unicodedata.normalize("NFC", row["class_name"]).split())
                if aliases.setdefault(key(row["label"]), name) != name:
                    raise WorkError(f"{path}, line {number}: {row['label']!r} has another class_name above")
    except OSError as error:
        raise WorkError(f"merge.aliases: {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise WorkError(f"{path} is not a CSV file: {error}") from None
    chained = next((name for label, name in aliases.items() if key(name) in aliases and key(name) != label), None)
    if chained is not None:
        raise WorkError(f"{path}: {chained!r} is both a class_name and a label with another class_name")
    return aliases
