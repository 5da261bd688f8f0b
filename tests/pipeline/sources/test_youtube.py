"""Clips that no archive has come from YouTube: yt-dlp itself, against a host on loopback (its generic extractor)."""

import signal

import av
import pytest

from tests.conftest import make_project
from tests.pipeline.draw import frame_times, read_counter, write_video
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids
from tests.reliability.runs import Descendants, needs_proc, temporary_files, wait_for

A, B, C, D = video_ids("abcd")


@pytest.fixture(scope="module")
def whole_video(tmp_path_factory):
    """A video of 30 seconds whose frames show their numbers."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    return write_video(path, frame_times(300, 10), gop=24, size=(192, 144)).read_bytes()


@pytest.fixture
def host(tmp_path, videos, whole_video):
    """One archive with one of four clips; the videos of the other three are on YouTube."""
    project = make_project(tmp_path / "project")
    rows = [("run", A, 0), ("run", B, 3), ("run", C, 7), ("run", D, 11)]
    mirror_kinetics(project, rows, [{"members": [(clip_member(A), videos[0])]}], clips=4)
    mirror = project.root / "mirror"
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.files |= {f"/youtube/{video}.mp4": whole_video for video in (B, C, D)}
        host.project = project.set(
            corpus=host.url, download__connections=1, download__yt_dlp={}, download__timeout_s=5.0, download__attempts=2
        )
        yield host


def download(host, command="download"):
    """Run the command; rows by video id, and the finished process."""
    done = host.project.call(command)
    assert done.returncode == 0, done.stderr
    return {row["video_id"]: row for row in host.project.rows("download").values()}, done


def youtube_requests(host):
    return [path for path, _ in host.requests if path.startswith("/youtube/")]


def test_only_the_annotated_seconds_are_downloaded(host):
    rows, _ = download(host)
    assert {row["error"] for row in rows.values()} == {None}
    for video, start in ((B, 3), (C, 7), (D, 11)):
        assert rows[video]["url"] == f"{host.url}/youtube/{video}.mp4"
        with av.open(str(host.project.root / rows[video]["path"])) as container:
            frames = [read_counter(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert frames[0] == 10 * start
        assert 100 <= len(frames) <= 110
    host.requests.clear()
    download(host)
    assert not youtube_requests(host)


def test_removed_video_fails_alone_and_names_both_reasons(host):
    del host.files[f"/youtube/{C}.mp4"]
    host.files[f"/youtube/{D}.mp4"] = b"<html><body>sign in</body></html>"
    rows, done = download(host)
    assert rows[B]["error"] is None
    assert rows[C]["error"] == "not_found"
    assert "in none of the train archives; " in rows[C]["error_detail"]
    assert "404" in rows[C]["error_detail"]
    assert rows[D]["status"] == "failed"
    assert "1 classes lack 2 clips of their quota:\n  run: 2 of 4" in done.stdout
    assert not list(host.project.root.glob("data/raw/**/.part-*"))


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ffmpeg_of_yt_dlp_ends_with_the_stage_and_a_rerun_completes(host, number):
    descendants = Descendants()
    for video in (B, C, D):
        host.queue_faults(f"/youtube/{video}.mp4", *[Fault(drip=(1 << 10, 0.1))] * 20)
    process = host.project.popen("download", env=descendants.env, start_new_session=True)
    assert wait_for(lambda: any("ffmpeg" in command for command in descendants.alive().values()))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert len(err.splitlines()) == (number != signal.SIGKILL)
    descendants.assert_end()
    host.faults.clear()
    rows, _ = download(host)
    assert {row["error"] for row in rows.values()} == {None}
    assert temporary_files(host.project.root) == []


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limited"), pytest.param(403, "forbidden", marks=pytest.mark.slow)]
)
def test_blocked_request_ends_the_requests_until_retry(host, status, code):
    for video in (B, C, D):
        host.queue_faults(f"/youtube/{video}.mp4", *[Fault(status=status)] * 5)
    rows, done = download(host)
    assert len(set(youtube_requests(host))) == 1
    assert {rows[video]["error"] for video in (B, C, D)} == {code}
    assert "YouTube blocks requests: " in done.stdout
    host.requests.clear()
    download(host)
    assert not youtube_requests(host)
    host.faults.clear()
    rows, _ = download(host, "retry")
    assert {row["error"] for row in rows.values()} == {None}


def test_no_request_is_sent_if_params_or_a_local_corpus_forbid_it(host):
    host.project.set(download__youtube=False)
    rows, _ = download(host)
    assert {rows[video]["error"] for video in (B, C, D)} == {"not_found"}
    assert not youtube_requests(host)
    host.project.set(download__youtube=True, corpus="mirror")
    download(host)
    assert not youtube_requests(host)


def test_no_request_is_sent_while_an_archive_may_recover(host):
    host.queue_faults("/kinetics/400/train/part_0.tar.gz", *[Fault(status=500)] * 5)
    rows, _ = download(host)
    assert {row["error"] for row in rows.values()} == {"connection"}
    assert not youtube_requests(host)
