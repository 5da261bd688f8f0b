"""Publishing to an fsspec URL: a journal at the target, published.json, says which files are there, by digest.

A file is uploaded under another name and renamed when it is complete, where the file system can do that; then the journal is
written. After an interruption, files that the journal lists with the right digest are not sent again.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from fsspec.core import url_to_fs
from tqdm import tqdm

from common.errors import ParamError, WorkError
from common.redact import redact
from pipeline.tools.publish.plan import Upload

JOURNAL = "published.json"
_CHUNK = 1 << 20


def upload(url: str, uploads: Sequence[Upload]) -> int:
    """Upload the files that the target lacks, in order; the number of them.

    Raises:
        ParamError: fsspec cannot use the URL.
        WorkError: the upload fails.
    """
    try:
        system, root = url_to_fs(url)
    except Exception as error:  # noqa: BLE001 (a file system's own errors, of its options and credentials)
        raise ParamError(f"{redact(url)}: {_line(error)}") from None
    try:
        return _upload(system, root.rstrip("/"), uploads)
    except WorkError:
        raise
    except Exception as error:  # noqa: BLE001 (as above)
        raise WorkError(f"{redact(url)}: {_line(error)}: run the same command again to continue") from None


def _upload(system: Any, root: str, uploads: Sequence[Upload]) -> int:
    system.makedirs(root, exist_ok=True)
    journal = _read(system, root)
    stale = journal.keys() - {upload.file.name for upload in uploads}
    missing = [upload for upload in uploads if not _is_there(system, root, upload, journal)]
    bar = tqdm(
        desc="publish", total=sum(upload.file.size for upload in missing), unit="B", unit_scale=True, disable=None
    )
    with bar:
        for upload in missing:
            if journal.pop(upload.file.name, None) is not None:
                _write(system, root, journal, complete=False)  # before the file itself changes
            _send(system, f"{root}/{upload.file.name}", upload, bar)
            journal[upload.file.name] = upload.file.sha256
            _write(system, root, journal, complete=False)
    for name in sorted(stale):
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")
        del journal[name]
    _write(system, root, journal, complete=True)
    return len(missing)


def _is_there(system: Any, root: str, upload: Upload, journal: dict[str, str]) -> bool:
    if journal.get(upload.file.name) != upload.file.sha256:
        return False
    try:
        return int(system.info(f"{root}/{upload.file.name}")["size"]) == upload.file.size
    except FileNotFoundError:
        return False


def _send(system: Any, target: str, upload: Upload, bar: "tqdm[Any]") -> None:
    part = f"{target}.part"
    with upload.path.open("rb") as local, system.open(part, "wb") as remote:
        while chunk := local.read(_CHUNK):
            remote.write(chunk)
            bar.update(len(chunk))
    size = int(system.info(part)["size"])
    if size != upload.file.size:
        raise WorkError(
            f"{upload.file.name}: {size:,} of {upload.file.size:,} bytes arrived: run the same command again"
        )
    system.mv(part, target)


def _read(system: Any, root: str) -> dict[str, str]:
    """Digests of the files that the journal lists; empty if there is none, or it is damaged."""
    try:
        files = json.loads(system.cat_file(f"{root}/{JOURNAL}"))["files"]
        return {name: digest for name, digest in files.items() if "/" not in name and isinstance(digest, str)}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(system: Any, root: str, journal: dict[str, str], *, complete: bool) -> None:
    content = json.dumps({"complete": complete, "files": dict(sorted(journal.items()))}, indent=1).encode()
    with system.open(f"{root}/{JOURNAL}.part", "wb") as remote:
        remote.write(content)
    system.mv(f"{root}/{JOURNAL}.part", f"{root}/{JOURNAL}")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
