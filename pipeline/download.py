"""download: fetch what the composite needs, look at each file on arrival, and say what became of every annotated clip."""

from itertools import pairwise

from common.errors import ParamError, WorkError
from common.files import sweep
from common.paths import MIRROR, RAW
from pipeline import params, sources
from pipeline.fetch import disk
from pipeline.records import manifests
from pipeline.records.manifests import Row
from pipeline.runner import per_clip


def main(*, only: str | None = None, dry_run: bool = False, refill: bool = False) -> None:
    """Write download.parquet; hosted clips land in `data/raw/`, a user's own files stay where they are.

    Args:
        only: fetch this source alone; what the manifest says of the others stays.
        dry_run: say what would be fetched, and fetch nothing but lists.
        refill: fetch again the bytes that `keep_raw: false` has dropped.

    Raises:
        ParamError: `only` is none of `sources`.
    """
    settings = params.load()
    if settings.corpus == "sample" and sources.needs_hosts(settings):
        from pipeline.sample import build_mirror

        build_mirror(MIRROR, workers=settings.engine.workers or None)
    chosen = sources.create(settings)
    names = [source.name for source in chosen]
    if only is not None and only not in names:
        raise ParamError(f"--only {only}: must be one of {', '.join(names)}")
    if dry_run:
        for source in chosen:
            if only in (None, source.name):
                print(f"{source.name}:", *source.plan(), sep="\n  ")
        return
    RAW.mkdir(parents=True, exist_ok=True)
    sweep(RAW)
    if refill:
        disk.remove_hollow(RAW)
    rows: list[Row] = []
    for source in chosen:
        if only in (None, source.name):
            rows += source.download()
        elif manifests.path_of("download").exists():
            rows += [row for row in manifests.read("download") if row["source"] == source.name]
    _check_unique(rows)
    manifests.write("download", rows)
    spare = sum(row["status"] == "spare" for row in rows)
    print(f"download: {len(rows):,} clips annotated, {spare:,} spare")
    per_clip.report("download", rows)


def _check_unique(rows: list[Row]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        other = seen.setdefault(row["clip_id"], row["source"])
        if other != row["source"]:
            raise WorkError(
                f"clip {row['clip_id']} comes from both {other} and {row['source']}: rename one of them under `sources`"
            )
    if len(seen) != len(rows):
        ids = sorted(row["clip_id"] for row in rows)
        twice = next(a for a, b in pairwise(ids) if a == b)
        raise WorkError(f"clip {twice} is annotated twice in {seen[twice]}: remove one of the two")
