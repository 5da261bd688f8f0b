"""The declaration that every module of a dataset makes, `SPEC`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.fetch.site import Site
from pipeline.params import Download
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import DownloadRow
from pipeline.sources.plan import Plan

if TYPE_CHECKING:
    from pipeline.sources.context import Context


class Entry(Protocol):
    """The typed entry of a source under `sources` in params.yaml."""

    @property
    def kind(self) -> str:
        """The dataset."""


class Source(Protocol):
    """A dataset, or a part of one, that can be downloaded."""

    name: str  # under `sources` in params.yaml

    def plan(self) -> Plan:
        """What `download` would fetch; reads annotation lists only."""

    def download(self) -> list[DownloadRow]:
        """Fetch the clips; one row per annotated clip, whether it was fetched or not."""


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True, kw_only=True)
class SourceSpec(Generic[E]):
    """Everything that is known of one kind of source.

    Args:
        kind: its name in params.yaml.
        entry: frozen dataclass of its entry there, with a field `kind`.
        facts: what later stages and the dataset card use.
        create: makes the source from its name, entry and context; None if another source of the run includes its clips.
        sites: the hosts of its files and the folders that stand for them in a mirror; none for local files.
        lists_clips: whether an entry lists the clips that it wants one by one, so that a missing one is a gap.
    """

    kind: str
    entry: type[E]
    facts: SourceFacts
    create: "Callable[[str, E, Context], Source | None]"
    sites: Callable[[Download], tuple[Site, ...]] = lambda _: ()
    lists_clips: Callable[[E], bool] = lambda _: False
