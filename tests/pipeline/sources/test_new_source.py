"""A new hosted dataset is one module and its line in the registry: `Entry`, `Toy` and `SPEC` would be that module.

Its facts alone make later stages treat its clips as multi-label and as YouTube videos.
"""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from common.paths import RAW
from pipeline import sources
from pipeline.fetch.site import Site
from pipeline.records.facts import SourceFacts
from pipeline.records.failures import ClipError
from pipeline.records.rows import DownloadRow
from pipeline.sources.clips import Annotation, Arrival, failed_row, make_id, to_row
from pipeline.sources.context import Context
from pipeline.sources.plan import Plan
from pipeline.sources.spec import SourceSpec
from tests.pipeline.conftest import STAGES
from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.host import Fault, serving

HOST = "https://toy.example/v1/"


@dataclass(frozen=True)
class Entry:
    kind: Literal["toy"]


class Toy:
    """A JSON list of [file, YouTube id, start, labels], and one file per clip of two seconds."""

    def __init__(self, name: str, entry: Entry, context: Context) -> None:
        self.name, self._context = name, context

    def plan(self) -> Plan:
        return Plan((f"{len(self._annotate())} clips",))

    def download(self) -> list[DownloadRow]:
        clips = self._annotate()
        rows: list[DownloadRow] = []
        arrivals: dict[str, Arrival] = {}
        for file, clip in clips.items():
            try:
                path = self._context.hosts.download(HOST + file, RAW / self.name / f"{clip.clip_id}.mp4")
                arrivals[clip.clip_id] = Arrival(path, HOST + file, annotated_s=2.0)
            except ClipError as error:
                rows.append(failed_row(clip, error))
        probed = self._context.probe(arrivals, f"{self.name} probe")
        ok = (clip for clip in clips.values() if clip.clip_id in probed)
        return rows + [to_row(clip, probed[clip.clip_id], rank=rank) for rank, clip in enumerate(ok)]

    def _annotate(self) -> dict[str, Annotation]:
        return {
            file: Annotation(
                make_id(self.name, video, str(start)),
                self.name,
                video,
                tuple(labels),
                "train",
                float(start),
                start + 2.0,
            )
            for file, video, start, labels in json.loads(self._context.hosts.read_text(f"{HOST}list.json"))
        }


SPEC = SourceSpec(
    kind="toy",
    entry=Entry,
    create=Toy,
    sites=lambda settings: (Site(HOST, "toy"),),
    facts=SourceFacts(title="Toy", citation="Toy (A. Author 2026)", terms="CC0", multi_label=True, youtube_videos=True),
)


CLIPS = [
    ("0.mp4", "aaaaaaaaaaa", 0, ["wave"]),
    ("1.mp4", "bbbbbbbbbbb", 0, ["wave"]),
    ("2.mp4", "ccccccccccc", 0, ["wave", "clap"]),
    ("3.mp4", "ddddddddddd", 0, ["wave", "clap"]),
    ("4.mp4", "eeeeeeeeeee", 0, ["clap"]),
    ("5.mp4", "fffffffffff", 0, ["clap"]),
    ("6.mp4", "aaaaaaaaaaa", 9, ["clap"]),  # its video is one of class `wave`
    ("7.mp4", "ggggggggggg", 0, ["wave"]),  # not on the host
]


@pytest.fixture
def host(project, monkeypatch):
    """A project whose one source is the toy dataset on a loopback host."""
    monkeypatch.setitem(sources.SPECS, "toy", SPEC)
    with serving(**{"toy/list.json": json.dumps(CLIPS).encode()}) as host:
        for number in range(7):
            pictures = [counter_picture(100 * number + frame) for frame in range(20)]
            path = write_video(project.root / "drawn.mp4", frame_times(20, 10), pictures=pictures)
            host.files[f"/toy/{number}.mp4"] = path.read_bytes()
        host.project = project.set(corpus=host.url, sources={"toy": {"kind": "toy"}})
        yield host


def test_clips_are_downloaded_from_the_host_with_retries(host):
    host.queue_faults("/toy/0.mp4", Fault(after=500))
    host.project.run("download")
    rows = host.project.rows("download")
    assert {row["url"]: row["error"] for row in rows.values()} == {
        f"{HOST}{number}.mp4": None for number in range(7)
    } | {None: "not_found"}
    assert (host.project.root / rows["toy-aaaaaaaaaaa-0"]["path"]).read_bytes() == host.files["/toy/0.mp4"]


def test_later_stages_and_the_dataset_card_follow_its_facts(host):
    host.project.run(*STAGES)
    clips = host.project.rows("clips")
    classes = {clip["video_id"]: clip["class_name"] for clip in clips.values() if clip["status"] == "ok"}
    assert classes == {
        "aaaaaaaaaaa": "wave",
        "bbbbbbbbbbb": "wave",
        "ccccccccccc": "clap + wave",
        "ddddddddddd": "clap + wave",
        "eeeeeeeeeee": "clap",
        "fffffffffff": "clap",
    }
    assert clips["toy-aaaaaaaaaaa-9"]["error"] == "duplicate"
    card = (host.project.root / "data/shards/README.md").read_text()
    assert "Toy (A. Author 2026)" in card
    assert "CC0" in card


def test_dry_run_reads_the_list_only(host, capsys):
    from pipeline import download

    download.main(dry_run=True)
    assert capsys.readouterr().out == "toy:\n  8 clips\n"
    assert [path for path, _ in host.requests] == ["/toy/list.json"]
