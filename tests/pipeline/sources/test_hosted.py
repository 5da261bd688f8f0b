"""The download stage against a host that misbehaves: after the trouble, the same manifest and the same files."""

import functools
import gzip
import zipfile

import pytest

from common.errors import WorkError
from pipeline import sources
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.http import Manners
from pipeline.records.manifests import path_of
from tests.conftest import make_project
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.host import Trouble, serving
from tests.pipeline.mirror import kinetics, member, pack

VIDEOS = [letter * 11 for letter in "abcdefghijkl"]
PART = "/kinetics/400/train/part_1.tar.gz"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [write_video(folder / f"{n}.mp4", frame_times(15 + n, 10)).read_bytes() for n in range(len(VIDEOS))]


@pytest.fixture
def impatient(monkeypatch):
    """No waits between attempts, and few of them."""
    manners = functools.partial(Manners, sleep=lambda seconds: None)
    monkeypatch.setattr(sources, "Manners", lambda attempts, timeout_s, pace: manners(attempts=4, timeout_s=1.0))


@pytest.fixture
def host(tmp_path, clips):
    """Three parts of four clips in two classes, one of them broken, and a replacement for it."""
    project = make_project(tmp_path / "project")
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(VIDEOS)]
    broken = {5: clips[5][:1000]}
    members = [(member(video, 0), broken.get(n, clips[n])) for n, video in enumerate(VIDEOS)]
    kinetics(project, rows, [{"members": members[n : n + 4]} for n in (0, 4, 8)], clips=12)
    mirror = project.root / "mirror"
    pack(mirror / "kinetics/400/replacement_for_corrupted_k400.tgz", [(f"replaced/{member(VIDEOS[5], 0)}", clips[5])])
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.project = project.set(corpus=host.url)
        yield host


def download(host, monkeypatch):
    """Run the stage; its manifest's bytes and its clips' bytes."""
    monkeypatch.chdir(host.project.root)
    host.project.run("download")
    files = {path.name: path.read_bytes() for path in host.project.root.glob("data/raw/**/*.mp4")}
    return path_of("download").read_bytes(), files


@pytest.fixture
def undisturbed(host, impatient, monkeypatch, tmp_path):
    """What the stage gives without trouble, in a folder of its own."""
    twin = type(host.project)(tmp_path / "twin")
    twin.root.mkdir()
    (twin.root / "params.yaml").write_bytes((host.project.root / "params.yaml").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(twin.root)
        twin.run("download")
        files = {path.name: path.read_bytes() for path in twin.root.glob("data/raw/**/*.mp4")}
        manifest = path_of("download").read_bytes()
    assert {row["error"] for row in twin.rows("download").values()} == {None}
    host.requests.clear()
    return manifest, files


PASSING = {
    "server errors": [Trouble(status=500), Trouble(status=503)],
    "rate limit": [Trouble(status=429, retry_after="1")],
    "resets in mid-body": [Trouble(after=700), Trouble(after=900)],
    "stall": [Trouble(stall_s=1.5)],
    "closed early": [Trouble(end=1200)],
    "no ranges after a reset": [Trouble(after=800), Trouble(ranges=False)],
    "redirect": [Trouble(location="/elsewhere.tar.gz")],
}


@pytest.mark.parametrize("trouble", PASSING)
def test_trouble_that_passes_leaves_no_trace(host, undisturbed, monkeypatch, trouble):
    host.files["/elsewhere.tar.gz"] = host.files[PART]
    host.trouble(PART, *PASSING[trouble])
    assert download(host, monkeypatch) == undisturbed


LASTING = {
    "gone": (Trouble(status=404), "not_found"),
    "forbidden": (Trouble(status=403), "forbidden"),
    "rate limit": (Trouble(status=429), "rate_limited"),
    "server errors": (Trouble(status=500), "connection"),
    "resets": (Trouble(after=0), "connection"),
    "stalls": (Trouble(stall_s=1.5), "timeout"),
    "wrong length": (Trouble(claim=100, ranges=False), "truncated"),
    "no archive at all": (Trouble(replace=b"\x1f\x8b" + bytes(500)), "checksum_mismatch"),
    "cut short": (Trouble(replace=gzip.compress(bytes(1000))[:-4]), "truncated"),
}


@pytest.mark.parametrize("trouble", LASTING)
def test_trouble_that_lasts_is_typed_and_a_rerun_completes(host, undisturbed, monkeypatch, trouble):
    whole = host.files[PART]
    host.trouble(PART, *[LASTING[trouble][0]] * 12)
    download(host, monkeypatch)
    found = {row["video_id"]: row["error"] for row in host.project.rows("download").values()}
    lost = {video for video, error in found.items() if error is not None}
    assert lost <= set(VIDEOS[4:8])
    assert {found[video] for video in lost} <= {LASTING[trouble][1]}
    assert lost or trouble == "wrong length"  # there the clips came whole; only the archive's end did not
    host.troubles.clear()
    host.files[PART] = whole
    assert download(host, monkeypatch) == undisturbed


def test_a_part_that_changes_while_it_is_read_is_read_again_on_a_rerun(host, undisturbed, monkeypatch):
    whole = host.files[PART]
    host.trouble(PART, Trouble(after=900), Trouble(replace=whole + b"\0"))
    download(host, monkeypatch)
    host.files[PART] = whole
    assert download(host, monkeypatch) == undisturbed


def test_what_is_here_is_not_asked_for_again(host, undisturbed, monkeypatch):
    download(host, monkeypatch)
    host.requests.clear()
    assert download(host, monkeypatch) == undisturbed
    assert not [path for path, _ in host.requests if "part_" in path and not path.endswith(".txt")]


def test_the_plan_is_made_of_lists_alone(host, monkeypatch):
    said = host.project.call("download", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert "12 clips annotated" in said.stdout
    assert "12 clips wanted of 2 classes (2 classes of 6)" in said.stdout
    assert "about 3 of 3 parts to stream" in said.stdout
    assert not [path for path, _ in host.requests if path.endswith("gz")]  # asked for by HEAD alone
    assert not (host.project.root / "manifests").exists()


def test_one_source_alone_leaves_the_rows_of_the_others(host, undisturbed, monkeypatch, tmp_path, clips):
    own = tmp_path / "own/walk"
    own.mkdir(parents=True)
    (own / "a.mp4").write_bytes(clips[0])
    kinds = {"kinetics400": {"kind": "kinetics400"}, "mine": {"kind": "folder", "root": str(own.parent)}}
    host.project.set(sources=kinds)
    download(host, monkeypatch)
    before = host.project.rows("download")
    (own / "b.mp4").write_bytes(clips[1])
    host.requests.clear()
    done = host.project.call("download", "--only", "mine")
    assert done.returncode == 0, done.stderr
    after = host.project.rows("download")
    assert after.keys() - before.keys() == {"mine-walk-b"}
    assert {name: after[name] for name in before} == before
    assert not [path for path, _ in host.requests if "part_" in path]
    assert host.project.call("download", "--only", "others").returncode == 2


@pytest.mark.parametrize(
    "line",
    [
        "file:///etc/passwd",
        "https://elsewhere.example/part_0.tar.gz",
        "https://s3.amazonaws.com/kinetics/400/train/../../../../etc/passwd",
        "https://s3.amazonaws.com/kinetics/400/train/..",
        "<html>",
    ],
)
def test_a_list_of_parts_that_leads_elsewhere_is_refused(host, line):
    host.files["/kinetics/400/train/k400_train_path.txt"] += f"{line}\n".encode()
    for arguments in (["download"], ["download", "--dry-run"]):
        done = host.project.call(*arguments)
        assert done.returncode == 1
        assert "k400_train_path.txt of kinetics400 is no list of parts" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_list_without_parts_is_a_plan_without_parts(host):
    host.files["/kinetics/400/train/k400_train_path.txt"] = b""
    done = host.project.call("download", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "about 0 of 0 parts" in done.stdout


def test_a_host_that_is_down_is_not_asked_for_every_part(host, undisturbed, monkeypatch):
    listing = "/kinetics/400/train/k400_train_path.txt"
    few = host.files[listing]
    host.files[listing] = few + b"".join(
        few.splitlines(keepends=True)[0].replace(b"_0", b"_%d" % n) for n in range(3, 9)
    )
    for n in range(9):
        host.trouble(f"/kinetics/400/train/part_{n}.tar.gz", *[Trouble(status=500)] * 4)
    download(host, monkeypatch)
    assert {row["error"] for row in host.project.rows("download").values()} == {"connection"}
    assert len({path for path, _ in host.requests if "part_" in path}) == 3
    host.troubles.clear()
    host.files[listing] = few
    assert download(host, monkeypatch) == undisturbed


def test_a_list_that_is_a_web_page_is_one_line(host, monkeypatch):
    host.files["/kinetics/400/annotations/train.csv"] = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    done = host.project.call("download")
    assert done.returncode == 1
    assert "no Kinetics list" in done.stderr
    assert "Traceback" not in done.stderr


# The zip


@pytest.fixture
def zipped(tmp_path):
    path = tmp_path / "TinyVIRAT.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("filler", bytes(range(256)) * 2000)
    with serving(**{"tinyvirat/TinyVIRAT.zip": path.read_bytes()}) as host:
        yield host


URL = "https://www.crcv.ucf.edu/datasets/ugur/TinyVIRAT.zip"
ZIP = "/tinyvirat/TinyVIRAT.zip"


def hosts(zipped, attempts=1):
    return Hosts(zipped.url, Manners(attempts=attempts, timeout_s=1.0, sleep=lambda seconds: None))


def test_a_download_that_broke_carries_on_in_the_next_run(zipped, tmp_path):
    data = zipped.files[ZIP]
    zipped.trouble(ZIP, Trouble(after=300_000), Trouble(after=100_000))
    for _ in range(2):
        with pytest.raises(WorkError, match="run the same command again"):
            hosts(zipped).local(URL, tmp_path / "raw")
    assert not (tmp_path / "raw/TinyVIRAT.zip").exists()
    path = hosts(zipped).local(URL, tmp_path / "raw")
    assert path.read_bytes() == data
    assert zipped.sent <= len(data) + 2 * (1 << 17)  # what was under way when the connection broke
    about = (tmp_path / "raw/TinyVIRAT.zip.json").read_text()
    assert f'"bytes": {len(data)}' in about
    assert "sha256" in about
    assert not list((tmp_path / "raw").glob(".resume-*"))


def test_a_zip_that_changed_between_two_runs_is_fetched_anew(zipped, tmp_path):
    zipped.trouble(ZIP, Trouble(after=300_000))
    with pytest.raises(WorkError):
        hosts(zipped).local(URL, tmp_path / "raw")
    zipped.files[ZIP] = zipped.files[ZIP][::-1]
    with pytest.raises(WorkError, match="changed"):
        hosts(zipped).local(URL, tmp_path / "raw")
    assert hosts(zipped).local(URL, tmp_path / "raw").read_bytes() == zipped.files[ZIP]


def test_a_certificate_chain_is_checked_unless_told_otherwise():
    address = "https://www.crcv.ucf.edu/x.zip"
    assert Hosts()._session(address).verify is True
    assert Hosts(certificates="chain.pem")._session(address).verify == "chain.pem"
    assert Hosts(verify=False)._session(address).verify is False
    assert Hosts(verify=False)._session("https://s3.amazonaws.com/x").verify is True
