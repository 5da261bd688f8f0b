"""Why a clip is missing: the closed list of codes that manifests hold in their `error` column."""

from enum import StrEnum


class Failure(StrEnum):
    """A reason for the loss of one clip. The transient ones may pass by themselves: `python -m pipeline retry`."""

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
    MISSING_LABEL = "missing_label"
    DUPLICATE = "duplicate"
    CONFLICTING_LABEL = "conflicting_label"


TRANSIENT = frozenset(
    {
        Failure.NOT_FOUND,
        Failure.FORBIDDEN,
        Failure.RATE_LIMITED,
        Failure.TIMEOUT,
        Failure.CONNECTION,
        Failure.TRUNCATED,
    }
)


class ClipError(Exception):
    """One clip cannot be had. The rest goes on; `code` and `detail` land in the manifest."""

    def __init__(self, code: Failure, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        # Decoders quote whatever bytes they met; a manifest cell stays one readable line.
        self.detail = " ".join(detail.split())[:500]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
