"""Credentials in params and in the environment reach no file of the project and no output."""

import pyarrow.parquet as pq
import pytest

from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids
from tests.reliability.runs import start_dvc, with_dvc

MARK = "hunter2"
COMMANDS = (
    *("download", "retry", "trim", "resample", "resize", "merge", "split", "shard", "verify"),
    *("stats", "report"),
)


@pytest.fixture
def host(project, tmp_path):
    """A host with two archives of three clips, of which the second has a lasting fault, and YouTube behind a proxy."""
    videos = video_ids("abcdef")
    shown = [[counter_picture(100 * n + k) for k in range(20)] for n in range(6)]
    clips = [write_video(tmp_path / f"{n}.mp4", frame_times(20, 10), pictures=shown[n]).read_bytes() for n in range(6)]
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(videos)]
    members = [(clip_member(video), clip) for video, clip in zip(videos, clips, strict=True)]
    mirror_kinetics(project, rows, [{"members": members[:3]}, {"members": members[3:]}], clips=6)
    mirror = project.root / "mirror"
    with serving() as host:
        host.files = {f"/{p.relative_to(mirror).as_posix()}": p.read_bytes() for p in mirror.rglob("*") if p.is_file()}
        host.project = project
        yield host


def content(path):
    """The bytes of a file; those of a manifest uncompressed."""
    data = path.read_bytes()
    return repr(pq.read_table(path).to_pylist()).encode() if data[:4] == b"PAR1" else data


def test_credentials_reach_no_file_and_no_output(host, monkeypatch):
    project = host.project
    cookies = project.root.parent / f"cookies-{MARK}.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n")
    monkeypatch.setenv("https_proxy", f"http://user:{MARK}@127.0.0.1:9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARK)
    project.set(
        corpus=host.url.replace("://", f"://user:{MARK}@"),
        download__yt_dlp={"proxy": f"http://user:{MARK}@127.0.0.1:9", "cookiefile": str(cookies)},
        download__attempts=2,
        download__timeout_s=2.0,
        download__connections=1,
    )
    part = next(path for path in host.files if path.endswith("part_1.tar.gz"))
    host.queue_faults(part, *[Fault(status=500)] * 2, *[Fault(after=100)] * 50)
    output = ""
    for command in COMMANDS:
        done = project.call(command)
        output += done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
    rows = project.rows("download").values()
    assert None in {row["error"] for row in rows}
    assert any(host.url in (row["error_detail"] or "") for row in rows)
    assert MARK not in output
    for path in project.root.rglob("*"):
        if path.is_file() and path.name != "params.yaml":
            assert MARK.encode() not in content(path), path
    assert "***" in (project.root / "reports/dataset.html").read_text()


def test_error_that_ends_a_command_names_no_credentials(host):
    host.always = Fault(status=500)
    host.project.set(corpus=host.url.replace("://", f"://user:{MARK}@"), download__attempts=1)
    done = host.project.call("download")
    assert done.returncode == 1
    assert "500" in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_credentials_from_the_environment_reach_no_file_of_a_dvc_run(host):
    project = with_dvc(host.project)
    (project.root.parent / f"cookies-{MARK}.txt").write_text("# Netscape HTTP Cookie File\n")
    project.set(
        corpus=host.url.replace("://", "://${MIRROR_USER}:${MIRROR_PASSWORD}@"),
        download__yt_dlp={"proxy": "http://u:${PROXY_PASSWORD}@127.0.0.1:9", "cookiefile": "${COOKIES}"},
        download__tinyvirat_ca="${CHAIN}",
        shard__copy_to="${COPY_TO}",
        download__attempts=1,
    )
    env = {
        "MIRROR_USER": MARK,
        "MIRROR_PASSWORD": MARK,
        "PROXY_PASSWORD": MARK,
        "COOKIES": str(project.root.parent / f"cookies-{MARK}.txt"),
        "CHAIN": f"/{MARK}.pem",
        "COPY_TO": f"s3://{MARK}:{MARK}@bucket/folder",
    }
    process = start_dvc(project, "repro", "download", env=env)
    output = "".join(process.communicate(timeout=240))
    assert process.returncode == 0, output
    lock = (project.root / "dvc.lock").read_text()
    assert "${MIRROR_PASSWORD}" in lock
    assert "yt_dlp" not in lock
    assert any(row["status"] == "ok" for row in project.rows("download").values())
    assert "password" not in output
    assert MARK not in output
    for folder in (project.root, project.root.parent / "dvc"):
        for path in folder.rglob("*"):
            assert MARK not in path.name
            assert not path.is_file() or MARK.encode() not in content(path), path


def test_password_in_clear_text_is_a_warning_that_names_the_param(host):
    host.project.set(
        corpus=host.url.replace("://", f"://user:{MARK}@"), download__yt_dlp={"proxy": f"user:{MARK}@127.0.0.1:9"}
    )
    done = host.project.call("download")
    assert done.returncode == 0, done.stderr
    warning = (
        "warning: params.yaml has a password in {}, and dvc.lock may copy it: write ${{NAME}} in its place, with NAME"
    )
    assert warning.format("corpus") in done.stderr
    assert warning.format("download.yt_dlp.proxy") in done.stderr
    assert MARK not in done.stdout + done.stderr


def test_missing_environment_variable_is_one_line_of_error(host):
    host.project.set(corpus="http://user:${NOT_SET_ANYWHERE}@127.0.0.1:9")
    done = host.project.call("download")
    assert done.returncode == 2
    assert done.stderr == (
        "error: params.yaml: corpus is 'http://127.0.0.1:9': the environment variable NOT_SET_ANYWHERE is not set\n"
    )
