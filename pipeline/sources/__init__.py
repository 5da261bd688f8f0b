"""One file per dataset: from annotations to clip rows, and to the bytes. `create` reads `sources` and `corpus`."""

from collections.abc import Mapping
from typing import Any, Protocol

from common.errors import ParamError
from common.params import build
from common.paths import MIRROR, RAW
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts, Site
from pipeline.fetch.http import RateLimit, RetryPolicy
from pipeline.params import PipelineParams
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import DownloadRow
from pipeline.sources import folder, kinetics400, minikinetics200, tinyvirat

_MODULES = {
    "kinetics400": kinetics400,
    "minikinetics200": minikinetics200,
    "tinyvirat": tinyvirat,
    "folder": folder,
}


class Source(Protocol):
    """A dataset that can fetch itself."""

    name: str

    def plan(self) -> list[str]:
        """What `download` would fetch, in lines to read."""

    def download(self) -> list[DownloadRow]:
        """One download row per annotated clip."""


def parse(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The entries under `sources`, typed by their kind.

    Raises:
        ParamError: an unknown kind or key, a name that is no plain word, or the same hosted dataset twice.
    """
    if not entries:
        raise ParamError("params.yaml: sources is empty: list at least one dataset or folder")
    typed = {}
    for name, entry in entries.items():
        if not name.replace("_", "a").isalnum() or not name.isascii():
            raise ParamError(f"params.yaml: sources.{name}: a source's name is made of letters, digits and `_`")
        kind = entry.get("kind")
        if kind not in _MODULES:
            raise ParamError(f"params.yaml: sources.{name}.kind is {kind!r}: must be one of {', '.join(_MODULES)}")
        typed[name] = build(_MODULES[kind].Entry, entry, f"sources.{name}")
    for kind in ("kinetics400", "minikinetics200", "tinyvirat"):
        names = [name for name, entry in typed.items() if entry.kind == kind]
        if len(names) > 1:
            raise ParamError(f"params.yaml: sources.{names[1]} repeats {kind}, which {names[0]} is already")
    return typed


def facts(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, SourceFacts]:
    """The facts of each source, by its name under `sources`, in that order. Raises as `parse`."""
    return {name: _MODULES[entry.kind].FACTS for name, entry in parse(entries).items()}


def create(params: PipelineParams) -> list[Source]:
    """The sources that params.yaml asks for. MiniKinetics-200 is part of Kinetics-400 and comes with it."""
    entries = parse(params.sources)
    settings = params.download
    certificates, verify = settings.tinyvirat_ca, settings.tinyvirat_verify
    sites = (
        Site("https://www.youtube.com/watch?v=", "youtube"),
        Site("https://s3.amazonaws.com/kinetics/", "kinetics"),
        Site("https://raw.githubusercontent.com/s9xie/Mini-Kinetics-200/master/", "mini-kinetics-200"),
        Site("https://www.crcv.ucf.edu/datasets/ugur/", "tinyvirat", certificates, verify),
        Site("https://www.crcv.ucf.edu/tiny-actions-challenge-cvpr2021/data/", "tinyvirat", certificates, verify),
    )
    bytes_per_s = None if settings.max_mb_per_s is None else settings.max_mb_per_s * 1e6
    retry = RetryPolicy(settings.attempts, settings.timeout_s, rate_limit=RateLimit(bytes_per_s))
    hosts = Hosts(sites, _mirror(params.corpus), retry, Disk(RAW, settings.disk_gb))
    kinds = {entry.kind: name for name, entry in entries.items()}
    made: list[Source] = []
    if "kinetics400" in kinds or "minikinetics200" in kinds:
        mini = minikinetics200.read_ids(hosts) if "minikinetics200" in kinds else frozenset()
        name = kinds.get("kinetics400", kinds.get("minikinetics200", ""))
        only_mini = "kinetics400" not in kinds
        made.append(kinetics400.Kinetics400(name, hosts, params.download, params.engine, mini, only_mini))
    for name, entry in entries.items():
        if isinstance(entry, tinyvirat.Entry):
            made.append(tinyvirat.TinyVirat(name, entry, hosts, params.engine))
        elif isinstance(entry, folder.Entry):
            made.append(folder.Folder(name, entry, params.engine))
    return made


def needs_hosts(params: PipelineParams) -> bool:
    """Whether any source reads hosted archives, as opposed to the user's own folders."""
    return any(entry.kind != "folder" for entry in parse(params.sources).values())


def _mirror(corpus: str) -> str | None:
    return {"full": None, "sample": str(MIRROR)}.get(corpus, corpus)
