"""TinyVIRAT, versions 1 and 2: one zip with JSON annotations and tiny multi-label clips, all of them wanted."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tqdm import tqdm

from common.errors import WorkError
from common.paths import RAW
from pipeline.fetch.archives import MEMBER_LIMIT, extract_zip_member
from pipeline.fetch.hosts import Hosts
from pipeline.params import Engine
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, Fetched, failed_row, make_id, probe_all, to_row

URLS = {
    1: "https://www.crcv.ucf.edu/datasets/ugur/TinyVIRAT.zip",
    2: "https://www.crcv.ucf.edu/tiny-actions-challenge-cvpr2021/data/TinyVIRAT-v2.zip",
}
_TOTAL_LIMIT = 64 << 30  # bytes
_LIST = re.compile(r"tiny_(train|val|test)(_v2)?(_public)?\.json")


FACTS = SourceFacts(
    title="TinyVIRAT",
    citation="TinyVIRAT (Demir et al. 2020, arXiv 2007.07355)",
    terms="the terms of the VIRAT Video Dataset",
    multi_label=True,
)


@dataclass(frozen=True)
class Entry:
    """An entry of kind `tinyvirat` under `sources`; `version` is 1 (12,829 clips, the paper's) or 2."""

    kind: Literal["tinyvirat"]
    version: Literal[1, 2] = 1


@dataclass(frozen=True)
class Tube:
    """One annotated clip and the zip member that holds it."""

    clip: Annotation
    member: str


class TinyVirat:
    """The source."""

    def __init__(self, name: str, entry: Entry, hosts: Hosts, options: Engine) -> None:
        self.name, self._hosts, self._options = name, hosts, options
        self._url = URLS[entry.version]
        self._folder = RAW / name

    def plan(self) -> list[str]:
        """What `download` would fetch, in lines to read."""
        size = self._hosts.size(self._url)
        told = f"{size / 1e9:,.1f} GB" if size else "of a size that the host does not tell"
        return [f"all clips of {self._url.rsplit('/', 1)[-1]}, {told}; how many is known once it is here"]

    def download(self) -> list[DownloadRow]:
        """One row per annotated clip: fetched and healthy, or failed."""
        site = self._hosts.site(self._url)
        if site is not None and not site.verify:
            print(f"{self.name}: its host's certificate is not checked (download.tinyvirat_verify: false)")
        try:
            path = self._hosts.download(self._url, self._folder / self._url.rsplit("/", 1)[-1])
        except ClipError as error:
            advice = "run the same command again to carry on"
            if "certificate" in error.detail:
                advice = "name its chain in download.tinyvirat_ca, or set download.tinyvirat_verify: false"
            raise WorkError(f"{error}; {advice}") from None
        try:
            with zipfile.ZipFile(path) as archive:
                tubes = read_tubes(archive, self.name)
                _check_total(archive, tubes)
                rows, arrivals = self._extract(archive, tubes)
        except zipfile.BadZipFile as error:
            raise WorkError(f"{path} is no zip file ({error}): delete it and run the same command again") from None
        outcomes = probe_all(arrivals, self._options, f"{self.name} probe")
        by_id = {tube.clip.clip_id: tube.clip for tube in tubes}
        for rank, (clip_id, arrival) in enumerate(arrivals.items()):
            fetched = Fetched(arrival.url, outcomes[clip_id], arrival.path)
            rows.append(to_row(by_id[clip_id], fetched, rank=rank))
        return rows

    def _extract(self, archive: zipfile.ZipFile, tubes: list[Tube]) -> tuple[list[DownloadRow], dict[str, Arrival]]:
        rows: list[DownloadRow] = []
        arrivals: dict[str, Arrival] = {}
        for tube in tqdm(tubes, desc=f"{self.name} unzip", unit="clip", disable=None):
            target = self._folder / f"{tube.clip.clip_id}.mp4"
            try:
                if not tube.clip.labels:
                    raise ClipError(Failure.MISSING_LABEL, f"the {tube.clip.official_split} list gives it no label")
                _check_inside(tube.member)
                if not target.exists():
                    extract_zip_member(archive, tube.member, target, self._hosts.disk)
                arrivals[tube.clip.clip_id] = Arrival(target, f"{self._url}#{tube.member}")
            except ClipError as error:
                rows.append(failed_row(tube.clip, error))
        return rows, arrivals


def read_tubes(archive: zipfile.ZipFile, source: str) -> list[Tube]:
    """Every clip of every annotation list in the zip, v1 (`{"tubes": [...]}`) or v2 (a plain list).

    Raises:
        WorkError: there is no list, or one is not what it should be.
    """
    lists = [info for info in archive.infolist() if _LIST.fullmatch(PurePosixPath(info.filename).name)]
    if not lists:
        raise WorkError(f"{archive.filename} holds no tiny_train.json or the like: not TinyVIRAT")
    members = set(archive.namelist())
    tubes: list[Tube] = []
    for info in sorted(lists, key=lambda info: info.filename):
        split = _LIST.fullmatch(PurePosixPath(info.filename).name)[1]  # type: ignore[index]
        if info.file_size > MEMBER_LIMIT:
            raise WorkError(f"{info.filename} unpacks to {info.file_size} bytes: not an annotation list")
        try:
            entries = json.loads(archive.read(info))
            entries = entries["tubes"] if isinstance(entries, dict) else entries
            tubes += [
                _tube(entry, split, str(PurePosixPath(info.filename).parent), members, source) for entry in entries
            ]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WorkError(f"{info.filename} is no TinyVIRAT list: {type(error).__name__} {error}") from None
    return tubes


def _tube(entry: dict[str, Any], split: str, root: str, members: set[str], source: str) -> Tube:
    path = str(entry["path"])
    labels = entry.get("label", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"label of {entry['id']} is {labels!r}")
    clip = Annotation(
        clip_id=make_id(source, split, str(entry["id"])),
        source=source,
        video_id=str(entry.get("video_id") or PurePosixPath(path).parent.name or path),
        labels=tuple(dict.fromkeys(labels)),
        official_split=split,
    )
    # v1 and v2 differ in what a path is relative to.
    prefix = "" if root == "." else f"{root}/"
    candidates = [f"{prefix}videos/{split}/{path}", f"{prefix}videos/{path}", f"{prefix}{path}"]
    return Tube(clip, next((name for name in candidates if name in members), candidates[0]))


def _check_total(archive: zipfile.ZipFile, tubes: list[Tube]) -> None:
    """Members may share their bytes in the archive, and so be many times what it is.

    Raises:
        WorkError: the clips claim more than any version of the dataset has.
    """
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    total = sum(sizes.get(tube.member, 0) for tube in tubes)
    if total > _TOTAL_LIMIT:
        raise WorkError(f"{archive.filename}: its clips unpack to {total / 1e9:,.0f} GB: not TinyVIRAT")


def _check_inside(member: str) -> None:
    if PurePosixPath(member).is_absolute() or ".." in Path(member).parts or "\\" in member:
        raise ClipError(Failure.UNSAFE_PATH, f"{member} leaves the archive's folder")
