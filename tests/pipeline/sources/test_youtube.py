"""What no archive has is asked of YouTube: yt-dlp itself, against a host on loopback (its generic extractor)."""

import av
import pytest

from tests.conftest import make_project
from tests.pipeline.draw import frame_times, read_counter, write_video
from tests.pipeline.host import Trouble, serving
from tests.pipeline.mirror import ids, kinetics, member

A, B, C, D = ids("a", "b", "c", "d")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A clip, and a video of 30 seconds whose frames carry their number."""
    folder = tmp_path_factory.mktemp("videos")
    clip = write_video(folder / "clip.mp4", frame_times(30, 10)).read_bytes()
    whole = write_video(folder / "whole.mp4", frame_times(300, 10), gop=24, size=(192, 144)).read_bytes()
    return clip, whole


@pytest.fixture
def host(tmp_path, videos):
    """One archive with one of four clips; the other three are on YouTube, or were."""
    clip, whole = videos
    project = make_project(tmp_path / "project")
    rows = [("run", A, 0), ("run", B, 3), ("run", C, 7), ("run", D, 11)]
    kinetics(project, rows, [{"members": [(member(A, 0), clip)]}], clips=4)
    mirror = project.root / "mirror"
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.files |= {f"/youtube/{video}.mp4": whole for video in (B, C, D)}
        host.project = project.set(
            corpus=host.url, download__connections=1, download__yt_dlp={}, download__timeout_s=5.0, download__attempts=2
        )
        yield host


def download(host, *arguments):
    done = host.project.call(*(arguments or ["download"]))
    assert done.returncode == 0, done.stderr
    return {row["video_id"]: row for row in host.project.rows("download").values()}, done


def asked(host):
    return [path for path, _ in host.requests if path.startswith("/youtube/")]


def test_the_annotated_seconds_come_and_nothing_else(host):
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
    assert not asked(host)


def test_a_clip_that_is_gone_says_so_and_the_rest_comes(host):
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


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (403, "forbidden")])
def test_a_refusal_ends_the_asking_and_retry_takes_it_up(host, status, code):
    for video in (B, C, D):
        host.trouble(f"/youtube/{video}.mp4", *[Trouble(status=status)] * 5)
    rows, done = download(host)
    assert len(set(asked(host))) == 1
    assert {rows[video]["error"] for video in (B, C, D)} == {code}
    assert "no more is asked of it now" in done.stdout
    host.requests.clear()
    download(host)  # no hammering in the next run either
    assert not asked(host)
    host.troubles.clear()
    rows, _ = download(host, "retry")
    assert {row["error"] for row in rows.values()} == {None}


def test_it_is_asked_only_when_params_and_corpus_allow(host):
    host.project.set(download__youtube=False)
    rows, _ = download(host)
    assert {rows[video]["error"] for video in (B, C, D)} == {"not_found"}
    assert not asked(host)
    host.project.set(download__youtube=True, corpus="mirror")
    download(host)
    assert not asked(host)


def test_archives_that_may_be_had_tomorrow_are_not_made_up_for(host):
    host.trouble("/kinetics/400/train/part_0.tar.gz", *[Trouble(status=500)] * 5)
    rows, _ = download(host)
    assert {row["error"] for row in rows.values()} == {"connection"}
    assert not asked(host)
