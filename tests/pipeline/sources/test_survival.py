"""Downloads that are killed again and again fetch hardly a byte twice and end in the same manifest."""

import random
import subprocess
import time

import pytest

from tests.conftest import make_project
from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids

VIDEOS = video_ids("abcdefghijkl")
SLOW = Fault(drip=(1 << 15, 0.008))  # 4 MB/s
MAX_REPEATED = 1.2  # bytes sent, as a multiple of those of one download


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    pictures = [[counter_picture(100 * n + k) for k in range(20)] for n in range(12)]
    return [write_video(folder / f"{n}.mp4", frame_times(20, 10), pictures=pictures[n]).read_bytes() for n in range(12)]


@pytest.fixture
def host(tmp_path, clips, request):
    """Four archives of three clips and other members, `request.param` MB in all."""
    project, rng = make_project(tmp_path / "project"), random.Random(0)
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(VIDEOS)]
    parts = []
    for part in range(4):
        members = []
        for n in range(3 * part, 3 * part + 3):
            members.append((clip_member(VIDEOS[n]), clips[n]))
            members += [(f"unwanted{n}-{k}", rng.randbytes(1 << 20)) for k in range(request.param // 12)]
        parts.append({"members": members})
    mirror_kinetics(project, rows, parts, clips=12)
    mirror = project.root / "mirror"
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.project = project.set(corpus=host.url)
        yield host


def result(project):
    """The manifest's bytes, and the clips' bytes by name."""
    return project.manifest("download"), {
        path.name: path.read_bytes() for path in project.root.glob("data/raw/**/*.mp4")
    }


def download_once(host, tmp_path):
    """The result of an undisturbed download in another folder, and the bytes that it took."""
    other = make_project(tmp_path / "other")
    (other.root / "params.yaml").write_bytes((host.project.root / "params.yaml").read_bytes())
    assert other.call("download").returncode == 0
    sent, host.sent = host.sent, 0
    host.requests.clear()
    return result(other), sent


def kill_after(project, seconds):
    """Start a download and kill it after so many seconds; False if it had ended by then."""
    process = project.popen("download")
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -9


@pytest.mark.parametrize("host", [24], indirect=True)
def test_killed_download_resumes_within_its_archive(host, tmp_path):
    expected, once = download_once(host, tmp_path)
    host.always = SLOW
    process = host.project.popen("download")
    while host.sent < once * 0.4:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert host.project.call("download").returncode == 0
    assert result(host.project) == expected
    assert host.sent < MAX_REPEATED * once
    assert len([path for path, span in host.requests if span is not None]) == 1
    assert not list(host.project.root.glob("data/raw/**/.resume-*"))
    assert not list(host.project.root.glob("data/raw/**/*.tar.gz"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", [96], indirect=True)
def test_download_killed_thirty_times_ends_in_the_same_manifest(host, tmp_path):
    expected, once = download_once(host, tmp_path)
    host.always, rng = SLOW, random.Random(1)
    for kill in range(30):
        killed = kill_after(host.project, rng.uniform(0.5, 3.0))
        assert killed or kill >= 10, "the download ends too soon to be killed"
        if not killed:  # later kills hit reruns
            host.project.set(download__attempts=8 + kill % 2)
    assert host.project.call("download").returncode == 0
    assert result(host.project) == expected
    print(f"{host.sent / once:.3f} times the bytes of one download")
    assert host.sent <= MAX_REPEATED * once


@pytest.mark.parametrize("host", [12], indirect=True)
def test_unchanged_lists_are_not_sent_again_and_serve_while_their_host_is_down(host, tmp_path):
    assert host.project.call("download").returncode == 0
    before, host.sent = result(host.project), 0
    host.requests.clear()
    assert host.project.call("download").returncode == 0
    assert len(host.requests) == 2  # annotations and the list of archives
    assert host.sent == 0
    host.project.set(download__attempts=1)
    host.always = Fault(status=500)
    done = host.project.call("download")
    assert done.returncode == 0
    assert "going on with the list of an earlier run" in done.stdout
    assert result(host.project) == before
    host.always, host.project = Fault(), host.project.set(download__attempts=2)
    host.files["/kinetics/400/annotations/train.csv"] += f"run,{'y' * 11},0,10,train,0\n".encode()
    assert host.project.call("download").returncode == 0
    assert len(host.project.rows("download")) == 13


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sample_over_a_bad_network_ends_in_the_manifest_of_a_local_mirror(tmp_path):
    """Every third request meets a fault, and the command is repeated until the manifest is complete."""
    from pipeline.sample import build_mirror

    build_mirror(tmp_path / "mirror", workers=2)
    params = {
        "download__youtube": False,
        "download__kinetics_clips": 4000,
        "download__reserve_per_class": 1,
        "download__attempts": 3,
        "download__timeout_s": 2.0,
        "sources": {kind: {"kind": kind} for kind in ("kinetics400", "minikinetics200", "tinyvirat")},
        "engine__workers": 2,
    }
    local = make_project(tmp_path / "local").set(corpus=str(tmp_path / "mirror"), **params)
    assert local.call("download", timeout_s=900).returncode == 0
    rng = random.Random(2)

    def random_fault():
        faults = (
            Fault(status=rng.choice([429, 500, 503])),
            Fault(after=rng.randrange(3_000_000)),
            Fault(end=rng.randrange(3_000_000)),
            Fault(ranges=False),
        )
        return rng.choice(faults) if rng.random() < 0.33 else Fault()

    with serving() as host:
        for path in (tmp_path / "mirror").rglob("*"):
            if path.is_file():
                name = f"/{path.relative_to(tmp_path / 'mirror').as_posix()}"
                host.files[name] = path.read_bytes()
                host.queue_faults(name, *(random_fault() for _ in range(200)))
        remote = make_project(tmp_path / "remote").set(corpus=host.url, **params)
        for _ in range(20):
            remote.call("download", timeout_s=900)
            if remote.manifest("download") == local.manifest("download"):
                break
        assert remote.manifest("download") == local.manifest("download")
        assert result(remote)[1] == result(local)[1]
