"""The hosts, settings and helpers that sources download with."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.paths import MIRROR, RAW
from pipeline.fetch import archives
from pipeline.fetch.disk import Disk
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.http import RetryPolicy
from pipeline.fetch.site import Site
from pipeline.params import Download, Engine, PipelineParams
from pipeline.sources.clips import Arrival, Fetched
from pipeline.sources.probe import probe_all
from pipeline.sources.traffic import Traffic


@dataclass(frozen=True)
class Context:
    """One run of `download`.

    Args:
        hosted: names of the hosted sources of the run, by kind.
        traffic: what the run has received and read.
    """

    hosts: Hosts
    settings: Download
    engine: Engine
    hosted: Mapping[str, str]
    traffic: Traffic = field(default_factory=Traffic)

    def probe(self, arrivals: Mapping[str, Arrival], label: str, *, whole: bool = True) -> dict[str, Fetched]:
        """See `probe_all`."""
        return probe_all(arrivals, self.engine, label, whole=whole, speed=self.traffic.probed)

    def extract_zip_member(self, archive: zipfile.ZipFile, name: str, target: Path) -> None:
        """See `pipeline.fetch.archives.extract_zip_member`."""
        archives.extract_zip_member(archive, name, target, self.hosts.disk)


def make_context(
    params: PipelineParams, sites: tuple[Site, ...], hosted: Mapping[str, str], traffic: Traffic
) -> Context:
    """The context that params.yaml asks for; its hosts are `sites`, or a mirror of them."""
    settings = params.download
    hosts = Hosts(
        sites,
        mirror={"full": None, "sample": str(MIRROR)}.get(params.corpus, params.corpus),
        retry=RetryPolicy(settings.attempts, settings.timeout_s, rate_limit=traffic.web),
        disk=Disk(RAW, settings.disk_gb),
    )
    return Context(hosts, settings, params.engine, hosted, traffic)
