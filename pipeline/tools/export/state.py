"""export.json: what an export folder holds, so that only the same export continues in it; `complete` is written last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import WorkError
from common.files import write_json

FILE = "export.json"


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Begin the export in a new or empty folder, or continue it in the one that it was begun in.

    Raises:
        WorkError: the folder holds something else, or another export.
    """
    path = folder / FILE
    try:
        if path.exists():
            found = json.loads(path.read_bytes())
            if not isinstance(found, dict) or {name: found.get(name) for name in about} != dict(about):
                raise WorkError(f"{folder} holds another export (see {path}): delete it, or name another folder")
        elif folder.exists() and any(entry.name[0] != "." for entry in folder.iterdir()):
            raise WorkError(f"{folder} is not empty: name a new folder")
    except NotADirectoryError:
        raise WorkError(f"{folder} is not a folder") from None
    except ValueError:
        raise WorkError(f"{path} is damaged: delete {folder}, or name another folder") from None
    write_json(path, {**about, "complete": False})
