"""download: fetch the clips that the composite needs, probe each file on arrival, and record every annotated clip."""

import contextlib
import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from itertools import pairwise

from common.command import print_json
from common.errors import ParamError, WorkError
from common.files import sweep
from common.paths import MIRROR, RAW
from pipeline import params, sources
from pipeline.composite import where
from pipeline.fetch.retention import remove_punched
from pipeline.records import manifests
from pipeline.records.rows import DownloadRow
from pipeline.runner.per_clip import print_summary
from pipeline.sources.spec import Source
from pipeline.sources.traffic import Traffic


def main(*, only: str | None = None, dry_run: bool = False, refill: bool = False) -> None:
    """Write download.parquet; hosted clips land in `data/raw/`, a user's own files stay where they are.

    Args:
        only: fetch this source alone; the other sources' rows stay as they are in the manifest.
        dry_run: print what would be fetched; download annotation lists only.
        refill: fetch the bytes again that `keep_raw: false` has dropped.

    Raises:
        ParamError: `only` is none of `sources`; `merge.where` is no condition.
    """
    settings = params.load()
    where.read(settings.merge)  # a mistake in it is found here, and not hours later
    traffic = Traffic(settings.download.max_mb_per_s)
    chosen = _sources(settings, only, traffic)
    if dry_run:
        for source in chosen:
            if only in (None, source.name):
                print(f"{source.name}:", *source.plan().text, sep="\n  ")
        return
    _check_packages(settings)
    RAW.mkdir(parents=True, exist_ok=True)
    sweep(RAW)
    if refill:
        remove_punched(RAW)
    rows: list[DownloadRow] = []
    for source in chosen:
        if only in (None, source.name):
            rows += source.download()
        elif manifests.exists(DownloadRow):
            rows += [row for row in manifests.read(DownloadRow) if row.source == source.name]
    _check_unique(rows)
    manifests.write(DownloadRow, rows)
    clips = [row for row in rows if row.is_clip]
    spare = sum(row.status == "spare" for row in clips)
    print(f"download: {len(clips):,} clips annotated, {spare:,} spare")
    print_summary("download", clips)
    if traffic.probed.clips or traffic.received:
        print(traffic.line())


def main_json(*, only: str | None = None, dry_run: bool = False, refill: bool = False) -> None:
    """The plan of `--dry-run` as one JSON document: for each source a `Plan` with the bytes of its files, and totals.

    A number is null where it is known after the download only.

    Raises:
        ParamError: `dry_run` is false; `only` is none of `sources`.
    """
    if not dry_run or refill:
        raise ParamError("--json is for the plan: add --dry-run, without --refill")
    with contextlib.redirect_stdout(sys.stderr):
        chosen = _sources(params.load(), only, Traffic())
        plans = {source.name: source.plan() for source in chosen if only in (None, source.name)}
    document = [{"name": name, **dataclasses.asdict(plan), "bytes": plan.bytes} for name, plan in plans.items()]
    totals = {
        "annotated": _total([plan.annotated for plan in plans.values()]),
        "wanted": _total([plan.wanted for plan in plans.values()]),
        "reserve": _total([plan.reserve for plan in plans.values()]),
        "bytes": _total([plan.bytes for plan in plans.values()]),
    }
    print_json({"sources": document, "total": totals})


def _total(numbers: Sequence[int | None]) -> int | None:
    """The sum; None if one of them is unknown."""
    return None if None in numbers else sum(number for number in numbers if number is not None)


def _sources(settings: params.PipelineParams, only: str | None, traffic: Traffic) -> list[Source]:
    """The sources of the run, with the sample's hosts drawn if it needs them."""
    if settings.corpus == "sample" and sources.needs_hosts(settings):
        from pipeline.sample import build_mirror

        build_mirror(MIRROR, workers=settings.engine.workers or None)
    chosen = sources.create(settings, traffic)
    names = [source.name for source in chosen]
    if only is not None and only not in names:
        raise ParamError(f"--only {only}: must be one of {', '.join(names)}")
    return chosen


def _check_packages(settings: params.PipelineParams) -> None:
    """Fail before hours of downloads, and not after them, where clips may have to come from YouTube."""
    youtube = any(source.youtube_videos for source in sources.facts(settings.sources).values())
    if settings.corpus == "full" and settings.download.youtube and youtube:
        missing = [name for name in ("yt_dlp", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]
        if missing:
            raise WorkError(
                f"download.youtube: true needs {' and '.join(missing)}: run `make dataset CORPUS=full`, which installs them, "
                "or set it to false"
            )


def _check_unique(rows: list[DownloadRow]) -> None:
    sources_by_id: dict[str, str] = {}
    for row in rows:
        other = sources_by_id.setdefault(row.clip_id, row.source)
        if other != row.source:
            raise WorkError(
                f"clip {row.clip_id} comes from both {other} and {row.source}: rename one of them under `sources`"
            )
    if len(sources_by_id) != len(rows):
        ids = sorted(row.clip_id for row in rows)
        twice = next(a for a, b in pairwise(ids) if a == b)
        raise WorkError(f"clip {twice} is annotated twice in {sources_by_id[twice]}: remove one of the two")
