"""MiniKinetics-200: two lists of YouTube ids. It hosts no video and adds no class; it marks clips of Kinetics-400."""

import re
from dataclasses import dataclass
from typing import Literal

from common.errors import WorkError
from pipeline.fetch.hosts import Hosts
from pipeline.records.facts import SourceFacts

HOST = "https://raw.githubusercontent.com/s9xie/Mini-Kinetics-200/master"
_ID = re.compile(r"[A-Za-z0-9_-]{11}")


FACTS = SourceFacts(
    title="MiniKinetics-200",
    citation="MiniKinetics-200 (Xie et al. 2018, arXiv 1712.04851), a subset of Kinetics-400",
    terms="as Kinetics-400",
    youtube_videos=True,
)


@dataclass(frozen=True)
class Entry:
    """An entry of kind `minikinetics200` under `sources`."""

    kind: Literal["minikinetics200"]


def read_ids(hosts: Hosts) -> frozenset[str]:
    """The video ids on the train and val lists.

    Raises:
        WorkError: a list is missing, or holds a line that is no YouTube id.
    """
    ids: set[str] = set()
    for split in ("train", "val"):
        url = f"{HOST}/{split}_ytid_list.txt"
        for number, line in enumerate(hosts.read_text(url).splitlines(), 1):
            if line and not _ID.fullmatch(line):
                raise WorkError(f"{hosts.locate(url)}, line {number}: {line[:40]!r} is no YouTube id")
            ids.add(line)
    return frozenset(ids - {""})
