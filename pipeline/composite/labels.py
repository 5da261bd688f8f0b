"""Class names: one spelling for what is meant as one class."""

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.errors import WorkError

ALIASES = Path(__file__).with_name("aliases.csv")
_FIELDS = ["label", "class_name", "reason"]


def key(label: str) -> str:
    """What two spellings of one label share: composed (NFC), in small letters, spaces single and inside only."""
    return " ".join(unicodedata.normalize("NFC", label).casefold().split())


def unify(labels: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """The name of the class that each label means.

    Labels of equal `key` are one class, named by its most frequent spelling (ties by code point); an alias renames it.
    """
    counts = Counter(labels)
    spellings: dict[str, Counter[str]] = {}
    for label, count in counts.items():
        name = aliases.get(key(label), " ".join(unicodedata.normalize("NFC", label).split()))
        spellings.setdefault(key(name), Counter())[name] += count
    names = {shared: min(spelled, key=lambda name: (-spelled[name], name)) for shared, spelled in spellings.items()}
    return {label: names[key(aliases.get(key(label), label))] for label in counts}


def read_aliases(path: Path = ALIASES) -> dict[str, str]:
    """The alias file (`label,class_name,reason`): class name by the label's `key`.

    Raises:
        WorkError: it is missing, is no such file, gives a label two names, or names an alias of an alias.
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
                    raise WorkError(f"{path}, line {number}: {row['label']!r} has two names")
    except OSError as error:
        raise WorkError(f"merge.aliases: {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise WorkError(f"{path} is no CSV file: {error}") from None
    chained = next((name for label, name in aliases.items() if key(name) in aliases and key(name) != label), None)
    if chained is not None:
        raise WorkError(f"{path}: {chained!r} is the name of one class and the alias of another")
    return aliases
