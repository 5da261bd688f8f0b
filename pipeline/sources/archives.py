"""Take wanted members out of archives from the internet: names are only compared, never used as paths."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from common.files import replacing
from pipeline.failures import ClipError, Failure

MEMBER_LIMIT = 256 << 20  # bytes; a ten-second clip is some 1 to 5 MB

Choose = Callable[[str, int], Path | None]


def stream_tar(file: IO[bytes], choose: Choose) -> list[str]:
    """Read a tar or tar.gz front to back; write the members for which `choose(name, size)` gives a path.

    Links, devices and folders are passed over. Nothing but the chosen members touches the disk.

    Returns:
        The names of all regular members, in order.

    Raises:
        ClipError: truncated when the archive ends early or its compression is damaged; what came before is kept.
    """
    names = []
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                names.append(member.name)
                target = choose(member.name, member.size)
                if target is None or member.size > MEMBER_LIMIT:
                    continue
                content = archive.extractfile(member)
                assert content is not None  # regular members have content
                with replacing(target) as temporary, temporary.open("wb") as out:
                    shutil.copyfileobj(content, out, 1 << 18)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ClipError(Failure.TRUNCATED, f"the archive is cut short or damaged: {error}") from None
    return names


def extract_zip_member(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Write one member of an open zip file to `target`.

    Raises:
        ClipError: not_found, truncated (the member is damaged) or unsafe_path (larger than any clip).
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ClipError(Failure.NOT_FOUND, f"the archive has no member {name}") from None
    if info.file_size > MEMBER_LIMIT:
        raise ClipError(
            Failure.UNSAFE_PATH, f"the member {name} unpacks to {info.file_size} bytes: no clip is so large"
        )
    try:
        with archive.open(info) as content, replacing(target) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(content, out, 1 << 18)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ClipError(Failure.TRUNCATED, f"the member {name} is damaged: {error}") from None
