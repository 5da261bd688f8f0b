"""A download that is killed again and again fetches hardly a byte twice, and ends as if nothing had been."""

import random
import subprocess

import pytest

from tests.conftest import make_project
from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.host import Trouble, serving
from tests.pipeline.mirror import kinetics, member

VIDEOS = [f"{chr(97 + n)}{'x' * 10}" for n in range(12)]
DRIP = Trouble(drip=(1 << 15, 0.008))  # 4 MB/s


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    shown = [[counter_picture(100 * n + k) for k in range(20)] for n in range(12)]
    return [write_video(folder / f"{n}.mp4", frame_times(20, 10), pictures=shown[n]).read_bytes() for n in range(12)]


@pytest.fixture
def host(tmp_path, clips, request):
    """Four parts of three clips, between members that nobody wants, of as many MB as the test asks for."""
    project, rng = make_project(tmp_path / "project"), random.Random(0)
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(VIDEOS)]
    parts = []
    for part in range(4):
        members = []
        for n in range(3 * part, 3 * part + 3):
            members.append((member(VIDEOS[n], 0), clips[n]))
            members += [(f"unwanted{n}-{k}", rng.randbytes(1 << 20)) for k in range(request.param // 12)]
        parts.append({"members": members})
    kinetics(project, rows, parts, clips=12)
    mirror = project.root / "mirror"
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.project = project.set(corpus=host.url)
        yield host


def outcome(project):
    files = {path.name: path.read_bytes() for path in project.root.glob("data/raw/**/*.mp4")}
    return (project.root / "manifests/download.parquet").read_bytes(), files


def undisturbed(host, tmp_path):
    twin = make_project(tmp_path / "twin")
    (twin.root / "params.yaml").write_bytes((host.project.root / "params.yaml").read_bytes())
    assert twin.call("download").returncode == 0
    sent, host.sent = host.sent, 0
    host.requests.clear()
    return outcome(twin), sent


def killed(project, after):
    """Whether the download was still at work after so many seconds, when it was killed."""
    process = project.popen("download")
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode == -9


@pytest.mark.parametrize("host", [24], indirect=True)
def test_a_killed_stream_is_taken_up_in_the_middle_of_its_archive(host, tmp_path):
    whole, once = undisturbed(host, tmp_path)
    host.always = DRIP
    process = host.project.popen("download")
    while host.sent < once * 0.4:
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert host.project.call("download").returncode == 0
    assert outcome(host.project) == whole
    assert host.sent < 1.2 * once
    resumed = [path for path, span in host.requests if span is not None]
    assert len(resumed) == 1
    assert not list(host.project.root.glob("data/raw/**/.resume-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", [96], indirect=True)
def test_killed_thirty_times_at_random(host, tmp_path):
    whole, once = undisturbed(host, tmp_path)
    host.always, rng, struck = DRIP, random.Random(1), 0
    while struck < 30:
        alive = killed(host.project, rng.uniform(0.5, 3.0))
        assert alive or struck >= 10, "too quick to be struck"
        if not alive:  # done: strike what a rerun does
            host.project.set(download__attempts=8 + struck % 2)
        struck += 1
    assert host.project.call("download").returncode == 0
    assert outcome(host.project) == whole
    print(f"{host.sent / once:.3f} times the bytes of one download")
    assert host.sent <= 1.2 * once


@pytest.mark.parametrize("host", [12], indirect=True)
def test_lists_are_asked_for_on_condition_and_outlive_their_host(host, tmp_path):
    assert host.project.call("download").returncode == 0
    before, host.sent = outcome(host.project), 0
    host.requests.clear()
    assert host.project.call("download").returncode == 0
    assert len(host.requests) == 2  # annotations and the list of parts, neither of them sent again
    assert host.sent == 0
    host.project.set(download__attempts=1)
    host.always = Trouble(status=500)
    done = host.project.call("download")
    assert done.returncode == 0
    assert "going on with the list of an earlier run" in done.stdout
    assert outcome(host.project) == before
    host.always, host.project = Trouble(), host.project.set(download__attempts=2)
    host.files["/kinetics/400/annotations/train.csv"] += f"run,{'y' * 11},0,10,train,0\n".encode()
    assert host.project.call("download").returncode == 0
    assert len(host.project.rows("download")) == 13


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_sample_over_a_bad_network(tmp_path):
    """Every third request meets some trouble; after as many runs as it takes, all is as from a folder."""
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
    plain = make_project(tmp_path / "plain").set(corpus=str(tmp_path / "mirror"), **params)
    assert plain.call("download", timeout_s=900).returncode == 0
    rng = random.Random(2)

    def trouble():
        kinds = (
            Trouble(status=rng.choice([429, 500, 503])),
            Trouble(after=rng.randrange(3_000_000)),
            Trouble(end=rng.randrange(3_000_000)),
            Trouble(ranges=False),
        )
        return rng.choice(kinds) if rng.random() < 0.33 else Trouble()

    with serving() as host:
        for path in (tmp_path / "mirror").rglob("*"):
            if path.is_file():
                name = f"/{path.relative_to(tmp_path / 'mirror').as_posix()}"
                host.files[name] = path.read_bytes()
                host.trouble(name, *(trouble() for _ in range(200)))
        bad = make_project(tmp_path / "bad").set(corpus=host.url, **params)
        for _ in range(20):
            bad.call("download", timeout_s=900)
            if bad.manifest("download") == plain.manifest("download"):
                break
        assert bad.manifest("download") == plain.manifest("download")
        assert outcome(bad)[1] == outcome(plain)[1]
