"""The ledgers of the per-clip stages, in the order in which clips pass through them."""

from common.paths import LEDGERS
from pipeline.fetch.youtube import Downloaded
from pipeline.records.rows import ResampleRow, ResizeRow, TrimRow
from pipeline.runner.ledger import Ledger
from pipeline.sources.clips import Probed

_RESULTS: dict[str, type[object]] = {
    "youtube": Downloaded,
    "download": Probed,
    "trim": TrimRow,
    "resample": ResampleRow,
    "resize": ResizeRow,
}


def existing() -> list[str]:
    """Names of the ledgers that have been written so far."""
    return [name for name in _RESULTS if (LEDGERS / f"{name}.sqlite").exists()]


def open_ledger(name: str) -> Ledger[object]:
    """The ledger of that name, with results of its own type; a context manager."""
    return Ledger(name, _RESULTS[name])
