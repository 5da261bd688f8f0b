"""retry: try the clips again whose failure may have passed (not found, forbidden, rate limited, timeout, connection, truncated)."""

from common.paths import LEDGERS
from pipeline import download, resample, resize, trim
from pipeline.runner.ledger import Ledger

_STAGES = ("youtube", "download", "trim", "resample", "resize")


def main() -> None:
    """Forget transient failures, run the per-clip stages over what is not done, and leave the rest to `dvc repro`."""
    forgotten = 0
    for name in _STAGES:
        if (LEDGERS / f"{name}.sqlite").exists():
            with Ledger(name) as ledger:
                forgotten += ledger.forget_transient()
    print(f"retry: {forgotten:,} transient failures to try again")
    for module in (download, trim, resample, resize):
        module.main()
    print("retry: run `dvc repro` to carry what came through into the shards")
