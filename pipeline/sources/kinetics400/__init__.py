"""Kinetics-400 from the CVDF host: CSV annotations, tar archives of about 1,000 clips in random class order.

Archives are read in the order of the host's lists; a clip is kept while its class still needs clips, and reading stops
when every class has its quota and reserve. What is kept of an archive depends on the archives before it alone, so that
every machine and every rerun keeps the same clips. Quotas count healthy clips: a broken clip is made up for by a later
archive. Clips that the archives lack are fetched from YouTube, one by one.

With `subset` the clips of a few-shot list are wanted, and no others in the place of those that are gone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.errors import ParamError
from pipeline.fetch.site import Site
from pipeline.records.facts import SourceFacts
from pipeline.sources.kinetics400.annotations import BUCKET, WATCH, Subset
from pipeline.sources.kinetics400.subsets import CMN, KINETICS100, read_subset
from pipeline.sources.spec import Source, SourceSpec

if TYPE_CHECKING:
    from pipeline.sources.context import Context

__all__ = ["SPEC", "Entry", "Subset", "create_with_subset"]


@dataclass(frozen=True)
class Entry:
    """An entry of kind `kinetics400` under `sources`.

    Args:
        subset: kinetics100, the few-shot clips of Zhu and Yang (2018); or lists, any lists in their form.
        lists: folder or fsspec URL of the subset's lists; None: where kinetics100 is published.
    """

    kind: Literal["kinetics400"]
    subset: Literal["kinetics100", "lists"] | None = None
    lists: str | None = None

    def __post_init__(self) -> None:
        if self.subset == "lists" and not self.lists:
            raise ValueError("lists is missing: a folder or URL with train.list, val.list and test.list")
        if self.subset is None and self.lists is not None:
            raise ValueError(f"lists is {self.lists!r}: must be null, unless subset is kinetics100 or lists")


def create(name: str, entry: Entry, context: "Context") -> Source | None:
    """The source; None if MiniKinetics-200 is a source too, which downloads Kinetics-400 with its own clips first.

    Raises:
        ParamError: the entry has a subset, and MiniKinetics-200 is a source.
        WorkError: see `read_subset`.
    """
    mini = context.hosted.get("minikinetics200")
    if entry.subset is None:
        return None if mini else create_with_subset(name, context, Subset())
    if mini:
        raise ParamError(f"params.yaml: sources.{name}.subset is {entry.subset}: sources.{mini} must be removed")
    from pipeline.sources.kinetics400.selection import ExactSelection
    from pipeline.sources.kinetics400.source import Kinetics400

    published = KINETICS100 if entry.subset == "kinetics100" else None
    return Kinetics400(name, context, ExactSelection(read_subset(context.hosts, entry.lists, published, name)))


def create_with_subset(name: str, context: "Context", subset: Subset) -> Source:
    """The source, with the clips of `subset` first."""
    from pipeline.sources.kinetics400.selection import EvenSelection  # requests and av stay unloaded until here
    from pipeline.sources.kinetics400.source import Kinetics400

    return Kinetics400(name, context, EvenSelection(subset, context.settings))


SPEC = SourceSpec(
    kind="kinetics400",
    entry=Entry,
    create=create,
    lists_clips=lambda entry: entry.subset is not None,
    sites=lambda _: (Site(BUCKET, "kinetics"), Site(WATCH, "youtube"), Site(CMN, "kinetics-100")),
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
