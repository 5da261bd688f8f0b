"""MiniKinetics-200: two lists of YouTube ids. It hosts no video and adds no class: its clips are some of Kinetics-400's."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.errors import WorkError
from pipeline.fetch.site import Site
from pipeline.records.facts import SourceFacts
from pipeline.sources import kinetics400
from pipeline.sources.spec import Source, SourceSpec

if TYPE_CHECKING:
    from pipeline.fetch.hosts import Hosts
    from pipeline.sources.context import Context

HOST = "https://raw.githubusercontent.com/s9xie/Mini-Kinetics-200/master/"
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(frozen=True)
class Entry:
    """An entry of kind `minikinetics200` under `sources`."""

    kind: Literal["minikinetics200"]


def create(name: str, _entry: Entry, context: "Context") -> Source:
    """Kinetics-400 with these clips first, under its own name; if Kinetics-400 is no source of its own, these clips only."""
    video_ids = read_ids(context.hosts)
    full = context.hosted.get(kinetics400.SPEC.kind)
    subset = kinetics400.Subset(video_ids, exclusive=full is None)
    return kinetics400.create_with_subset(full or name, context, subset)


def read_ids(hosts: "Hosts") -> frozenset[str]:
    """The video ids on the train and val lists.

    Raises:
        WorkError: a list is missing, or has a line that is not a YouTube id.
    """
    ids: set[str] = set()
    for split in ("train", "val"):
        url = f"{HOST}{split}_ytid_list.txt"
        for number, line in enumerate(hosts.read_text(url).splitlines(), 1):
            if line and not _YOUTUBE_ID.fullmatch(line):
                raise WorkError(f"{hosts.locate(url)}, line {number}: {line[:40]!r} is not a YouTube id")
            ids.add(line)
    return frozenset(ids - {""})


SPEC = SourceSpec(
    kind="minikinetics200",
    entry=Entry,
    create=create,
    sites=lambda _: (Site(HOST, "mini-kinetics-200"),),
    facts=SourceFacts(
        title="MiniKinetics-200",
        citation="MiniKinetics-200 (Xie et al. 2018, arXiv 1712.04851), a subset of Kinetics-400",
        terms="as Kinetics-400",
        youtube_videos=True,
        url="https://arxiv.org/abs/1712.04851",
        license_url="https://creativecommons.org/licenses/by/4.0/",
        collection="As Kinetics-400: the classes with most clips.",
        annotation="As Kinetics-400.",
        biases="As Kinetics-400.",
        people="As Kinetics-400.",
    ),
)
