"""The reason why a file is no video, in a user's words, from its first bytes.

HTML pages, noise and an mp4 cut off before its index have no entry: FFmpeg's own message stands for these.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

_HEAD, _INDEX = 1 << 16, 1 << 22  # bytes that are searched of a file and of an mp4 index

# FFmpeg opens some of these as video or sound, by their file name.
_OTHER_FILES = {
    b"version https://git-lfs.github.com/": "a Git LFS pointer instead of the file itself; `git lfs pull` downloads it",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"#EXTM3U": "a playlist, a list of other files",
    b"ffconcat version": "a playlist, a list of other files",
}
_IMAGES = {
    b"\x89PNG\r\n": "an image (PNG)",
    b"\xff\xd8\xff": "an image (JPEG)",
    b"II*\x00": "an image (TIFF)",
    b"MM\x00*": "an image (TIFF)",
}
_HEIF_BRANDS = {b"heic", b"heix", b"mif1", b"avif"}
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)


def reason_not_media(file: BinaryIO) -> str | None:
    """The kind of a file that is certainly neither video nor sound, by its first bytes; None for all others."""
    file.seek(0)
    head = file.read(512)
    if head[257:262] == b"ustar":
        return "the file is a tar archive"
    return next((f"the file is {kind}" for start, kind in _OTHER_FILES.items() if head.startswith(start)), None)


def reason_unreadable(file: BinaryIO) -> str | None:
    """The probable reason why FFmpeg cannot open a file; None if unknown."""
    file.seek(0)
    head = file.read(_HEAD)
    for start, kind in _IMAGES.items():
        if head.startswith(start):
            return f"the file is {kind}"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "the file is an image (HEIF or AVIF)"
    if head[4:8] in (b"ftyp", b"styp", b"moof"):
        return _missing_index(file)
    return _text_kind(head)


def _missing_index(file: BinaryIO) -> str | None:
    """The reason for an mp4 of which every box is whole, but which has no `moov` box."""
    kinds = set()
    try:
        for kind, _, _ in mp4_boxes(file):
            kinds.add(kind)
    except ValueError:
        return None
    if b"moov" in kinds:
        return None
    if b"moof" in kinds:
        return "the file is a segment of a streamed mp4 without its initialization segment (no moov box)"
    return "the mp4 file has no index (no moov box): its recording or upload did not finish"


def mp4_boxes(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of the content and end of each box between two positions, by ISO 14496-12.

    Raises:
        ValueError: a box reaches beyond `end`, by default the end of the file.
    """
    if end is None:
        end = file.seek(0, 2)
    while start < end:
        file.seek(start)
        header = file.read(16)
        size, content = int.from_bytes(header[:4], "big"), start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), start + 16
        elif size == 0:  # up to the end
            size = end - start
        if size < content - start or start + size > end:
            raise ValueError(f"the box at byte {start} reaches beyond byte {end}")
        yield header[4:8], content, start + size
        start += size


def _text_kind(head: bytes) -> str | None:
    if _WEB_PAGE.match(head):
        return None
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not just a character cut in two at the end
            return None
        text = head[: error.start].decode()
    if not text or not all(character.isprintable() or character.isspace() for character in text):
        return None
    return "the file is JSON text" if text.lstrip()[:1] in ("{", "[") else "the file is text"


def is_encrypted(file: BinaryIO) -> bool:
    """Whether an mp4's index declares common encryption (ISO 23001-7), as DRM systems use it."""
    with suppress(ValueError):
        for kind, start, end in mp4_boxes(file):
            if kind == b"moov":
                file.seek(start)
                index = file.read(min(end - start, _INDEX))
                return b"sinf" in index and b"schm" in index and (b"encv" in index or b"tenc" in index)
    return False


def codec_tag(file: BinaryIO) -> str | None:
    """The name by which an AVI, mp4 or Matroska file refers to the codec of its first video stream."""
    file.seek(0)
    head = file.read(_HEAD)
    for pattern in (rb"strh....vids(.{4})", rb"stsd.{12}(.{4})", rb"(V_[A-Z0-9/_]{2,30})"):
        found = re.search(pattern, head, re.DOTALL)
        if found:
            return found[1].decode("latin-1").strip("\0 ")
    return None
