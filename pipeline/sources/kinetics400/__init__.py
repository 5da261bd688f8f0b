"""Kinetics-400 from the CVDF host: CSV annotations, tar archives of about 1,000 clips in random class order.

Archives are read in the order of the host's lists; a clip is kept while its class still needs clips, and reading stops
when every class has its quota and reserve. What is kept of an archive depends on the archives before it alone, so that
every machine and every rerun keeps the same clips. Quotas count healthy clips: a broken clip is made up for by a later
archive. Clips that the archives lack are fetched from YouTube, one by one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.fetch.site import Site
from pipeline.records.facts import SourceFacts
from pipeline.sources.kinetics400.annotations import BUCKET, WATCH, Subset
from pipeline.sources.spec import Source, SourceSpec

if TYPE_CHECKING:
    from pipeline.sources.context import Context

__all__ = ["SPEC", "Entry", "Subset", "create_with_subset"]


@dataclass(frozen=True)
class Entry:
    """An entry of kind `kinetics400` under `sources`."""

    kind: Literal["kinetics400"]


def create(name: str, _entry: Entry, context: "Context") -> Source | None:
    """The source; None if MiniKinetics-200 is a source too, which downloads Kinetics-400 with its own clips first."""
    return None if "minikinetics200" in context.hosted else create_with_subset(name, context, Subset())


def create_with_subset(name: str, context: "Context", subset: Subset) -> Source:
    """The source, with the clips of `subset` first."""
    from pipeline.sources.kinetics400.source import Kinetics400  # requests and av stay unloaded until here

    return Kinetics400(name, context, subset)


SPEC = SourceSpec(
    kind="kinetics400",
    entry=Entry,
    create=create,
    sites=lambda _: (Site(BUCKET, "kinetics"), Site(WATCH, "youtube")),
    facts=SourceFacts(
        title="Kinetics-400",
        citation="Kinetics-400 (Kay et al. 2017, arXiv 1705.06950)",
        terms="annotations CC BY 4.0; the videos belong to those who put them on YouTube",
        youtube_videos=True,
        url="https://arxiv.org/abs/1705.06950",
        license_url="https://creativecommons.org/licenses/by/4.0/",
        collection="Windows of about ten seconds of YouTube videos, found by the action's name in titles.",
        annotation="Workers of Amazon Mechanical Turk confirmed that the window shows the action.",
        biases="What people upload to YouTube and name by the action; its authors discuss gender imbalance of classes.",
        people="People who are seen in public YouTube videos; neither names nor faces are annotated.",
    ),
)
