"""TinyVIRAT, versions 1 and 2: one zip with JSON annotations and tiny multi-label clips, all of them wanted."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from common.errors import WorkError
from common.paths import RAW
from pipeline.fetch.site import Site
from pipeline.fetch.zips import open_zip, read_member
from pipeline.params import Download
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, failed_row, make_id, to_row
from pipeline.sources.plan import FilesPlan, Plan, size_text
from pipeline.sources.spec import SourceSpec

if TYPE_CHECKING:
    from pipeline.sources.context import Context

URLS = {
    1: "https://www.crcv.ucf.edu/datasets/ugur/TinyVIRAT.zip",
    2: "https://www.crcv.ucf.edu/tiny-actions-challenge-cvpr2021/data/TinyVIRAT-v2.zip",
}
_LISTS_LIMIT = 16 << 20  # bytes that all annotation lists together unpack to; those of version 2 have about 5 MB
_TOTAL_LIMIT = 64 << 30  # bytes
_LIST = re.compile(r"tiny_(train|val|test)(_v2)?(_public)?\.json")


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

    def __init__(self, name: str, entry: Entry, context: "Context") -> None:
        self.name, self._context = name, context
        self._url, self._folder = URLS[entry.version], RAW / name

    def plan(self) -> Plan:
        """The zip file; its clips are known after the download only."""
        name, size = _file_name(self._url), self._context.hosts.size(self._url)
        known = size_text(size) if size else "size unknown"
        text = f"all clips of {name}, {known}; their number is known after the download"
        return Plan((text,), (FilesPlan(name, needed=1, listed=1, bytes=size or None),))

    def download(self) -> list[DownloadRow]:
        """One row per annotated clip: ok or failed."""
        path = self._download_zip()
        with open_zip(path) as archive:
            tubes = read_tubes(archive, self.name)
            _check_total_size(archive, tubes)
            rows, arrivals = self._extract(archive, tubes)
        probed = self._context.probe(arrivals, f"{self.name} probe")
        clips = {tube.clip.clip_id: tube.clip for tube in tubes}
        return rows + [to_row(clips[clip_id], probed[clip_id], rank=rank) for rank, clip_id in enumerate(arrivals)]

    def _download_zip(self) -> Path:
        settings = self._context.settings
        if not settings.tinyvirat_verify:
            print(f"{self.name}: its host's certificate is not checked (download.tinyvirat_verify: false)")
        try:
            return self._context.hosts.download(self._url, self._folder / _file_name(self._url))
        except ClipError as error:
            advice = "run the same command again to carry on"
            if "certificate" in error.detail:
                advice = "name its chain in download.tinyvirat_ca, or set download.tinyvirat_verify: false"
            raise WorkError(f"{error}; {advice}") from None

    def _extract(self, archive: zipfile.ZipFile, tubes: list[Tube]) -> tuple[list[DownloadRow], dict[str, Arrival]]:
        """Unpack the clips that are not on disk yet; rows of the failed ones, files of the others by clip_id."""
        failed: list[DownloadRow] = []
        arrivals: dict[str, Arrival] = {}
        for tube in tqdm(tubes, desc=f"{self.name} unzip", unit="clip", disable=None):
            target = self._folder / f"{tube.clip.clip_id}.mp4"
            try:
                if not tube.clip.labels:
                    raise ClipError(Failure.MISSING_LABEL, f"the {tube.clip.official_split} list gives it no label")
                _check_inside(tube.member)
                if not target.exists():
                    self._context.extract_zip_member(archive, tube.member, target)
                arrivals[tube.clip.clip_id] = Arrival(target, f"{self._url}#{tube.member}")
            except ClipError as error:
                failed.append(failed_row(tube.clip, error))
        return failed, arrivals


def read_tubes(archive: zipfile.ZipFile, source: str) -> list[Tube]:
    """Every clip of every annotation list in the zip, v1 (`{"tubes": [...]}`) or v2 (a plain list).

    Raises:
        WorkError: there is no list, or one is damaged or has another format, or they unpack to more than any real ones.
    """
    lists = [info for info in archive.infolist() if _LIST.fullmatch(PurePosixPath(info.filename).name)]
    if not lists:
        raise WorkError(f"{archive.filename} has no annotation list such as tiny_train.json: not TinyVIRAT")
    members = set(archive.namelist())
    tubes: list[Tube] = []
    left = _LISTS_LIMIT
    for info in sorted(lists, key=lambda info: info.filename):
        split = _LIST.fullmatch(PurePosixPath(info.filename).name)[1]  # type: ignore[index]
        try:
            data = read_member(archive, info, left)
            left -= len(data)
            entries = json.loads(data)
            entries = entries["tubes"] if isinstance(entries, dict) else entries
            tubes += [
                _read_tube(entry, split, str(PurePosixPath(info.filename).parent), members, source) for entry in entries
            ]
        except ClipError as error:
            raise WorkError(f"the annotation lists of {archive.filename}: {error.detail}") from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WorkError(f"{info.filename} is not a TinyVIRAT list: {type(error).__name__} {error}") from None
    return tubes


def _read_tube(entry: dict[str, Any], split: str, root: str, members: set[str], source: str) -> Tube:
    path = str(entry["path"])
    labels = entry.get("label", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"label of {entry['id']} is {labels!r}: must be a list of text")
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


def _check_total_size(archive: zipfile.ZipFile, tubes: list[Tube]) -> None:
    """Members may share bytes of the archive, and so unpack to many times its size.

    Raises:
        WorkError: the clips unpack to more than any version of the dataset has.
    """
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    total = sum(sizes.get(tube.member, 0) for tube in tubes)
    if total > _TOTAL_LIMIT:
        raise WorkError(
            f"{archive.filename}: its clips unpack to {total / 1e9:,.0f} GB: "
            f"TinyVIRAT has less than {_TOTAL_LIMIT / 1e9:,.0f} GB"
        )


def _check_inside(member: str) -> None:
    if PurePosixPath(member).is_absolute() or ".." in Path(member).parts or "\\" in member:
        raise ClipError(Failure.UNSAFE_PATH, f"{member} is outside the archive's folder")


def _file_name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


def _sites(settings: Download) -> tuple[Site, ...]:
    """The host often sends an incomplete certificate chain, so params may give one."""
    return tuple(
        Site(url.removesuffix(_file_name(url)), "tinyvirat", settings.tinyvirat_ca, settings.tinyvirat_verify)
        for url in URLS.values()
    )


SPEC = SourceSpec(
    kind="tinyvirat",
    entry=Entry,
    create=TinyVirat,
    sites=_sites,
    facts=SourceFacts(
        title="TinyVIRAT",
        citation="TinyVIRAT (Demir et al. 2020, arXiv 2007.07355)",
        terms="the terms of the VIRAT Video Dataset",
        multi_label=True,
        url="https://arxiv.org/abs/2007.07355",
        collection="Tubes around people and vehicles, cut from the outdoor surveillance videos of VIRAT.",
        annotation="The activity annotations of VIRAT; a tube has one or more of 26 labels.",
        biases="Few cameras and scenes; actions of very different frequency.",
        people="People and vehicles seen from afar by surveillance cameras; neither names nor faces are annotated.",
    ),
)
