"""retry: run the per-clip stages again for clips with a transient failure, such as not_found, timeout or connection."""

from pipeline import download, resample, resize, trim
from pipeline.tools import ledgers


def main() -> None:
    """Mark transient failures as not done, and run the per-clip stages over all clips that are not done.

    Failures that are transient: `pipeline.records.failures.TRANSIENT`. The stages from merge on are left to `dvc repro`.
    """
    marked = 0
    for name in ledgers.existing():
        with ledgers.open_ledger(name) as ledger:
            marked += ledger.forget_transient()
    print(f"retry: {marked:,} transient failures to try again")
    for module in (download, trim, resample, resize):
        module.main()
    print("retry: run `dvc repro` to add the recovered clips to the shards")
