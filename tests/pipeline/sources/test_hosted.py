"""Kinetics-400 from a host with faults: once they are over, the same manifest and files as without."""

import functools
import gzip
import json
import re
import time

import pytest

from pipeline import params, sources
from pipeline.fetch.http import RetryPolicy
from pipeline.records.manifests import path_of
from pipeline.records.rows import DownloadRow
from pipeline.sources.probe import probe_all
from pipeline.sources.traffic import Traffic
from tests.conftest import make_project
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids, write_tar_gz

VIDEOS = video_ids("abcdefghijkl")
LIST = "/kinetics/400/train/k400_train_path.txt"
PART = "/kinetics/400/train/part_1.tar.gz"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """No waits between attempts, and four attempts."""
    policy = functools.partial(RetryPolicy, sleep=lambda seconds: None)
    monkeypatch.setattr(
        "pipeline.sources.context.RetryPolicy",
        lambda attempts, timeout_s, rate_limit: policy(attempts=4, timeout_s=1.0, rate_limit=rate_limit),
    )


@pytest.fixture
def host(tmp_path, videos):
    """Three archives of four clips in two classes, one clip broken, and its replacement."""
    project = make_project(tmp_path / "project")
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(VIDEOS)]
    broken = {5: videos[5][:1000]}
    members = [(clip_member(video), broken.get(n, videos[n])) for n, video in enumerate(VIDEOS)]
    mirror_kinetics(project, rows, [{"members": members[n : n + 4]} for n in (0, 4, 8)], clips=12)
    mirror = project.root / "mirror"
    replacement = (f"replaced/{clip_member(VIDEOS[5])}", videos[5])
    write_tar_gz(mirror / "kinetics/400/replacement_for_corrupted_k400.tgz", [replacement])
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.project = project.set(corpus=host.url)
        yield host


def download(project):
    """Run the stage in the project; the manifest's bytes and the clips' bytes by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        project.run("download")
        manifest = path_of(DownloadRow).read_bytes()
    return manifest, {path.name: path.read_bytes() for path in project.root.glob("data/raw/**/*.mp4")}


def others_slow(names, fast):
    """Params of a test: the names that are not `fast` are for `make test-slow`."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture
def expected(host, tmp_path):
    """Manifest and files of a download without faults, in another folder."""
    other = make_project(tmp_path / "other")
    (other.root / "params.yaml").write_bytes((host.project.root / "params.yaml").read_bytes())
    result = download(other)
    assert {row["error"] for row in other.rows("download").values()} == {None}
    host.requests.clear()
    return result


def requested_parts(host):
    return {path for path, _ in host.requests if "part_" in path and not path.endswith(".txt")}


TEMPORARY = {
    "server errors": [Fault(status=500), Fault(status=503)],
    "rate limit": [Fault(status=429, retry_after="1")],
    "resets in mid-body": [Fault(after=700), Fault(after=900)],
    "stall": [Fault(stall_s=1.5)],
    "closed early": [Fault(end=1200)],
    "no ranges after a reset": [Fault(after=800), Fault(ranges=False)],
    "redirect": [Fault(location="/elsewhere.tar.gz")],
}


@pytest.mark.parametrize("fault", others_slow(TEMPORARY, {"server errors", "resets in mid-body"}))
def test_temporary_fault_changes_nothing(host, expected, fault):
    host.files["/elsewhere.tar.gz"] = host.files[PART]
    host.queue_faults(PART, *TEMPORARY[fault])
    assert download(host.project) == expected


LASTING = {
    "gone": (Fault(status=404), "not_found"),
    "forbidden": (Fault(status=403), "forbidden"),
    "rate limit": (Fault(status=429), "rate_limited"),
    "server errors": (Fault(status=500), "connection"),
    "resets": (Fault(after=0), "connection"),
    "stalls": (Fault(stall_s=1.5), "timeout"),
    "wrong length": (Fault(claim=100, ranges=False), "truncated"),
    "not an archive": (Fault(replace=b"\x1f\x8b" + bytes(500)), "checksum_mismatch"),
    "cut short": (Fault(replace=gzip.compress(bytes(1000))[:-4]), "truncated"),
}


@pytest.mark.parametrize("fault", others_slow(LASTING, {"gone", "resets", "not an archive", "cut short"}))
def test_lasting_fault_is_typed_and_a_rerun_completes(host, expected, fault):
    content = host.files[PART]
    host.queue_faults(PART, *[LASTING[fault][0]] * 12)
    download(host.project)
    errors = {row["video_id"]: row["error"] for row in host.project.rows("download").values()}
    lost = {video for video, error in errors.items() if error is not None}
    assert lost <= set(VIDEOS[4:8])
    assert {errors[video] for video in lost} <= {LASTING[fault][1]}
    assert lost or fault == "wrong length"  # there all clips came; only the archive's end did not
    host.faults.clear()
    host.files[PART] = content
    assert download(host.project) == expected


def test_archive_that_changes_during_its_download_is_read_in_the_next_run(host, expected):
    content = host.files[PART]
    host.queue_faults(PART, Fault(after=900), Fault(replace=content + b"\0"))
    download(host.project)
    host.files[PART] = content
    assert download(host.project) == expected


def test_rerun_downloads_no_archive(host, expected):
    download(host.project)
    host.requests.clear()
    assert download(host.project) == expected
    assert not requested_parts(host)


def test_dry_run_reads_lists_only(host):
    done = host.project.call("download", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "12 clips annotated" in done.stdout
    assert "12 clips wanted of 2 classes (2 classes of 6)" in done.stdout
    assert "about 3 of 3 archives to download" in done.stdout
    assert not [path for path, _ in host.requests if path.endswith("gz")]  # sizes are requested by HEAD
    assert not (host.project.root / "manifests").exists()


def test_plan_as_json_has_clips_by_class_and_the_bytes_of_the_archives(host):
    done = host.project.call("download", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (source,) = document["sources"]
    archives = sum(len(data) for path, data in host.files.items() if "/train/part_" in path)
    assert source["classes"] == {label: {"wanted": 6, "annotated": 6} for label in ("run", "jump")}
    (files,) = source["files"]
    assert (files["name"], files["needed"], files["listed"], files["bytes"]) == ("train", 3, 3, archives)
    assert 0 < files["kept_bytes"] <= archives
    assert document["total"] == {"annotated": 12, "wanted": 12, "reserve": 0, "bytes": archives}


def test_speed_counts_the_bytes_that_the_host_has_sent_and_the_clips_that_were_probed(host, monkeypatch):
    monkeypatch.chdir(host.project.root)
    traffic = Traffic()
    (source,) = sources.create(params.load(), traffic)
    rows = source.download()
    fetched = sum(len(data) for path, data in host.files.items() if path.endswith("gz"))
    assert fetched <= traffic.received <= host.sent
    assert traffic.probed.clips == len(rows) + 1  # the broken clip, and its replacement
    assert traffic.probed.bytes == sum(row.bytes for row in rows)
    assert re.search(r" clips/s, [\d.]+ MB/s received$", traffic.line())


def test_only_one_source_leaves_the_rows_of_the_others(host, tmp_path, videos):
    own = tmp_path / "own/walk"
    own.mkdir(parents=True)
    (own / "a.mp4").write_bytes(videos[0])
    kinds = {"kinetics400": {"kind": "kinetics400"}, "mine": {"kind": "folder", "root": str(own.parent)}}
    host.project.set(sources=kinds)
    download(host.project)
    before = host.project.rows("download")
    (own / "b.mp4").write_bytes(videos[1])
    host.requests.clear()
    done = host.project.call("download", "--only", "mine")
    assert done.returncode == 0, done.stderr
    after = host.project.rows("download")
    assert after.keys() - before.keys() == {"mine-walk-b"}
    assert {name: after[name] for name in before} == before
    assert not requested_parts(host)
    assert host.project.call("download", "--only", "others").returncode == 2


# Which archives are requested


def test_next_archive_is_downloaded_while_the_clips_of_one_are_probed(host, monkeypatch):
    requested_at_probe = []

    def probe_once_the_next_is_requested(*arguments, **options):
        number = len(requested_at_probe) + 1
        path, deadline = f"/kinetics/400/train/part_{number}.tar.gz", time.monotonic() + (5 if number == 1 else 0.5)
        while path not in requested_parts(host) and time.monotonic() < deadline:
            time.sleep(0.01)
        requested_at_probe.append(path in requested_parts(host))
        return probe_all(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.sources.context.probe_all", probe_once_the_next_is_requested)
        host.files[LIST] = b"".join(host.files[LIST].splitlines(keepends=True)[:2])
        download(host.project)
    assert requested_at_probe[:2] == [True, False]  # there is no third archive


def test_archives_after_the_full_quota_are_not_downloaded(host):
    host.project.set(download__kinetics_clips=4)
    content = host.files.copy()
    host.files = {path: data for path, data in content.items() if "replacement" not in path}
    host.always = Fault(drip=(1 << 12, 0.01))
    download(host.project)
    assert {row["status"] for row in host.project.rows("download").values()} == {"ok", "spare"}
    assert "/kinetics/400/train/part_2.tar.gz" not in requested_parts(host)
    parts = host.project.root / "data/raw/kinetics400/parts"
    assert [path.name for path in parts.iterdir()] == ["train-part_0.tar.gz.json"]


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
def test_list_of_archives_elsewhere_is_an_error(host, line):
    host.files[LIST] += f"{line}\n".encode()
    for arguments in (["download"], ["download", "--dry-run"]):
        done = host.project.call(*arguments)
        assert done.returncode == 1
        assert "k400_train_path.txt of kinetics400 is not a list of archives" in done.stderr
        assert "Traceback" not in done.stderr


def test_dry_run_of_an_empty_list_of_archives(host):
    host.files[LIST] = b""
    done = host.project.call("download", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "about 0 of 0 archives" in done.stdout


def test_three_failed_archives_in_a_row_end_the_split(host, expected):
    few = host.files[LIST]
    first = few.splitlines(keepends=True)[0]
    host.files[LIST] = few + b"".join(first.replace(b"_0", b"_%d" % n) for n in range(3, 9))
    for n in range(9):
        host.queue_faults(f"/kinetics/400/train/part_{n}.tar.gz", *[Fault(status=500)] * 4)
    download(host.project)
    assert {row["error"] for row in host.project.rows("download").values()} == {"connection"}
    assert len(requested_parts(host)) == 3
    host.faults.clear()
    host.files[LIST] = few
    assert download(host.project) == expected


def test_web_page_instead_of_a_list_is_an_error(host):
    host.files["/kinetics/400/annotations/train.csv"] = b"<!DOCTYPE html><html><body>Sign in</body></html>"
    done = host.project.call("download")
    assert done.returncode == 1
    assert "not a Kinetics list" in done.stderr
    assert "Traceback" not in done.stderr
