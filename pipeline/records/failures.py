"""Failure codes: why a clip is missing, as in the `error` column of every manifest."""

import unicodedata
from enum import StrEnum

from common.redact import redact


class Failure(StrEnum):
    """The reason why one clip was lost. `TRANSIENT` ones are tried again by `python -m pipeline retry`."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TRUNCATED = "truncated"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    DISK_FULL = "disk_full"
    UNSAFE_PATH = "unsafe_path"
    UNREADABLE_CONTAINER = "unreadable_container"
    NO_VIDEO_STREAM = "no_video_stream"
    DECODE_ERROR = "decode_error"
    TOO_SHORT = "too_short"
    WRONG_LENGTH = "wrong_length"
    TOO_LARGE = "too_large"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_DIED = "worker_died"
    MISSING_LABEL = "missing_label"
    NOT_VIDEO = "not_video"  # a file beside the videos of a folder, no clip; in download.parquet alone
    DUPLICATE = "duplicate"
    CONFLICTING_LABEL = "conflicting_label"
    FILTERED = "filtered"
    EXCLUDED = "excluded"  # by manifests/excluded.csv


TRANSIENT = frozenset(
    {
        Failure.NOT_FOUND,
        Failure.FORBIDDEN,
        Failure.RATE_LIMITED,
        Failure.TIMEOUT,
        Failure.CONNECTION,
        Failure.TRUNCATED,
        Failure.OUT_OF_MEMORY,
        Failure.WORKER_DIED,
    }
)

_DETAIL_LIMIT = 500  # characters


class ClipError(Exception):
    """The failure of one clip; other clips are not affected. `code` and `detail` become its manifest row's error columns."""

    def __init__(self, code: Failure, detail: str) -> None:
        self.code = code
        # Decoders quote arbitrary bytes of the file; a manifest cell stays one readable line.
        self.detail = redact(_escaped(" ".join(detail[: 20 * _DETAIL_LIMIT].split())))[:_DETAIL_LIMIT]
        super().__init__(code, self.detail)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def _escaped(text: str) -> str:
    """`text` with control characters and lone surrogates as escapes: a terminal would obey them, and UTF-8 lacks them."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in ("Cc", "Cs") else character
        for character in text
    )
