"""Files of clips that have changed since the stage that recorded them."""

from collections.abc import Iterable
from pathlib import Path

from common.errors import WorkError
from pipeline.records.rows import DownloadRow, TrimRow


def check_unchanged(rows: Iterable[DownloadRow] | Iterable[TrimRow]) -> None:
    """Compare the size of every file with its row's; files that are not on this machine are left out.

    Raises:
        WorkError: a file has another size.
    """
    for row in rows:
        if row.status != "ok":
            continue
        try:
            size = Path(row.path).stat().st_size
        except OSError:
            continue
        if size != row.bytes:
            raise WorkError(
                f"{row.path} of clip {row.clip_id} has {size:,} bytes, and had {row.bytes:,} in {row.MANIFEST}: run "
                f"`python -m pipeline {row.MANIFEST}`, then the same command again"
            )
