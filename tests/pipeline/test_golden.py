"""The output of every stage over three drawn clips, compared with recorded digests.

Results that the ledger has kept are reused until a stage's VERSION is raised, so a stage whose output changes must have
another VERSION. `python -m tests.pipeline.test_golden` records the digests in golden.json.
"""

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

import pipeline.resample
import pipeline.resize
import pipeline.trim
from common.files import write_json
from pipeline.params import Resample, Resize, Trim
from pipeline.records import manifests
from pipeline.records.failures import ClipError
from pipeline.records.rows import ClassRow, CompositeRow, DownloadRow, ResizeRow, ShardRow, SplitRow
from pipeline.resample import resample
from pipeline.resize import resize
from pipeline.runner.ledger import digest, file_digest
from pipeline.sources import probe as probing
from pipeline.sources.clips import Arrival
from pipeline.sources.probe import ProbeSettings, probe
from pipeline.trim import trim
from pipeline.video.filmstrip import encode
from tests.conftest import Project, make_project
from tests.pipeline.draw import frame_times, write_video

RECORDED = Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.pipeline.test_golden"
TRIM = Trim(margin_s=1.0)
RESAMPLE = Resample(fps=10, frames=100, min_frames=10, pad="loop")
RESIZE = Resize(size=64, fit="stretch", format="jpg", quality=95, timeout_s=60)
# merge, split and shard have no VERSION: DVC reruns them whenever their code changes.
VERSIONED = {
    "probe": "pipeline/sources/probe.py",
    "trim": "pipeline/trim.py",
    "resample": "pipeline/resample.py",
    "resize": "pipeline/resize.py",
}
READS = {"resample": "trim", "resize": "resample", "merge": "resize", "split": "merge", "shard": "split"}


@dataclass(frozen=True)
class Golden:
    """Digest of each stage's output, VERSION of each stage that has one, and the libraries that decode and encode."""

    libraries: dict[str, str]
    versions: dict[str, int]
    digests: dict[str, str]


# Computing


def compute(folder: Path) -> Golden:
    """Run every stage in `folder`, an empty one, and digest the outputs."""
    before = Path.cwd()
    os.chdir(folder)  # manifests hold paths relative to the current folder
    try:
        project = write_project(folder)
        downloaded = manifests.read(DownloadRow)
        trimmed = [trim(row, TRIM) for row in downloaded]
        resampled = [resample(row, RESAMPLE) for row in trimmed]
        resized = [resize(row, RESIZE) for row in resampled]
        manifests.write(ResizeRow, resized)
        project.run("merge", "split", "shard")
        digests = {
            "probe": digest(probe_results(downloaded)),
            "trim": digest(values(trimmed, "bytes"), [packet_digest(Path(row.path)) for row in trimmed]),
            "resample": digest(values(resampled)),
            "resize": digest(values(resized), [file_digest(Path(row.path)) for row in resized]),
            "merge": digest(values(manifests.read(CompositeRow)), values(manifests.read(ClassRow))),
            "split": digest(values(manifests.read(SplitRow))),
            "shard": digest(
                values(manifests.read(ShardRow)),
                [file_digest(path) for path in sorted(Path("data/shards").glob("*.tar"))],
            ),
        }
    finally:
        os.chdir(before)
    versions = {
        "probe": probing.VERSION,
        "trim": pipeline.trim.VERSION,
        "resample": pipeline.resample.VERSION,
        "resize": pipeline.resize.VERSION,
    }
    return Golden({"av": av.__version__, "opencv": cv2.__version__}, versions, digests)


def write_project(folder: Path) -> Project:
    """Draw a whole clip, a window of a longer video, and a rotated clip of variable frame rate; write download.parquet."""
    whole = write_video(Path("clips/whole.mp4"), frame_times(90, 30))
    longer = write_video(Path("clips/longer.mp4"), frame_times(200, 25), gop=40)
    irregular = [Fraction(number * number + 7 * number, 400) for number in range(60)]
    rotated = write_video(Path("clips/rotated.mp4"), irregular, time_base=Fraction(1, 400), rotation=90, size=(96, 128))
    common: dict[str, Any] = {"video_id": "video", "bytes": 1}
    manifests.write(
        DownloadRow,
        [
            DownloadRow(clip_id="a", source="own", labels=("run",), path=str(whole), sha256="a", **common),
            DownloadRow(
                clip_id="b",
                source="own",
                labels=("jump",),
                path=str(longer),
                sha256="b",
                precut=False,
                start_s=2.3,
                end_s=6.1,
                **common,
            ),
            DownloadRow(clip_id="c", source="tubes", labels=("walk", "talk"), path=str(rotated), sha256="c", **common),
        ],
    )
    return make_project(folder).set(
        sources={"own": {"kind": "folder", "root": "clips"}, "tubes": {"kind": "tinyvirat"}},
        merge__class_rule="label_sets",
        merge__label_sets=118,
        split__seed=0,
        split__held_out=0.34,
        shard__seed=0,
        shard__max_clips=1000,
    )


def probe_results(downloaded: Sequence[DownloadRow]) -> list[object]:
    """The result of `probe` for each clip, and its errors for one that is cut short and one that is too long."""
    arrivals = [Arrival(Path(row.path), "url") for row in downloaded]
    short = Path("clips/short.mp4")
    short.write_bytes(arrivals[0].path.read_bytes()[:-2000])
    arrivals += [Arrival(short, "url"), Arrival(arrivals[2].path, "url", annotated_s=0.5)]
    results: list[object] = []
    for arrival in arrivals:
        try:
            results.append(dataclasses.asdict(probe(arrival, ProbeSettings(whole=True))))
        except ClipError as error:
            results.append([error.code, error.detail])
    return results


def values(rows: Sequence[Any], *without: str) -> list[dict[str, Any]]:
    """The columns of rows, but for keys, which contain the VERSIONs."""
    return [
        {name: value for name, value in dataclasses.asdict(row).items() if name not in ("key", *without)}
        for row in rows
    ]


def packet_digest(path: Path) -> str:
    """Digest of the times and bytes of a file's packets: headers of a cut file depend on the build of ffmpeg."""
    with av.open(str(path)) as container:
        packets = [
            (p.pts, p.dts, p.is_keyframe, hashlib.sha256(bytes(p)).hexdigest()) for p in container.demux(video=0)
        ]
    return digest(packets)


# Comparing


def without_new_version(recorded: Golden, found: Golden) -> list[str]:
    """Stages whose output has changed, other than through the stage they read, while their VERSION has not."""
    changed = changed_stages(recorded, found)
    return [
        stage
        for stage in changed
        if READS.get(stage) not in changed and found.versions.get(stage, -1) == recorded.versions.get(stage)
    ]


def changed_stages(recorded: Golden, found: Golden) -> list[str]:
    return [stage for stage in found.digests if found.digests[stage] != recorded.digests.get(stage)]


def explain(recorded: Golden, found: Golden) -> str | None:
    """The remedy for a difference from the recorded digests; None if there is none."""
    if stages := without_new_version(recorded, found):
        files = " and in ".join(VERSIONED[stage] for stage in stages)
        return (
            f"the output of {' and '.join(stages)} has changed: raise VERSION in {files} and re-record with `{COMMAND}`"
        )
    if stages := changed_stages(recorded, found):
        return f"the output of {', '.join(stages)} has changed: if that is intended, re-record with `{COMMAND}`"
    if recorded.versions != found.versions:
        return f"a VERSION was raised: re-record with `{COMMAND}`"
    return None


def load() -> Golden:
    return Golden(**json.loads(RECORDED.read_text()))


def record() -> None:
    """Write golden.json, unless a VERSION has to be raised first."""
    with tempfile.TemporaryDirectory() as folder:
        found = compute(Path(folder))
    if RECORDED.exists() and load().libraries == found.libraries and without_new_version(load(), found):
        sys.exit(explain(load(), found))
    write_json(RECORDED, dataclasses.asdict(found))


# Tests


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return compute(tmp_path_factory.mktemp("golden"))


def test_output_of_every_stage_is_as_recorded(found):
    recorded = load()
    if found.libraries != recorded.libraries:
        pytest.skip(
            f"recorded with {recorded.libraries}, installed are {found.libraries}: other builds encode other bytes"
        )
    message = explain(recorded, found)
    assert message is None, message


def change(golden: Golden, *stages: str, raised: Sequence[str] = ()) -> Golden:
    """The same but for the digests of some stages, and the VERSIONs of the raised ones."""
    digests = golden.digests | dict.fromkeys(stages, "other")
    return Golden(golden.libraries, {s: v + (s in raised) for s, v in golden.versions.items()}, digests)


@pytest.mark.parametrize(
    ("changed", "raised", "message"),
    [
        (["trim"], [], "raise VERSION in pipeline/trim.py"),
        (["trim", "resample", "resize", "merge", "shard"], [], "raise VERSION in pipeline/trim.py and re-record"),
        (["trim", "resize"], ["trim"], "raise VERSION in pipeline/resize.py and re-record"),
        (["probe", "resize"], [], "raise VERSION in pipeline/sources/probe.py and in pipeline/resize.py"),
        (["trim", "resample"], ["trim"], "the output of trim, resample has changed: if that is intended, re-record"),
        (["shard"], [], "the output of shard has changed: if that is intended, re-record"),
        ([], ["resize"], "a VERSION was raised: re-record"),
    ],
)
def test_difference_is_explained(changed, raised, message):
    recorded = Golden({}, dict.fromkeys(VERSIONED, 2), dict.fromkeys([*VERSIONED, "merge", "split", "shard"], "same"))
    explanation = explain(recorded, change(recorded, *changed, raised=raised))
    assert explanation is not None
    assert message in explanation
    assert COMMAND in explanation


def test_changed_encoder_setting_is_found(found, tmp_path, monkeypatch):
    monkeypatch.setattr(
        pipeline.resize, "encode", lambda frames, format, quality: encode(frames, format=format, quality=94)
    )
    message = explain(found, compute(tmp_path))
    assert message is not None
    assert message.startswith("the output of resize has changed: raise VERSION in pipeline/resize.py")


if __name__ == "__main__":
    record()
