"""TinyVIRAT: its two published layouts, invalid lists, and clips that fail one by one."""

import json
import zipfile

import pytest

from common.errors import WorkError
from pipeline.sources.tinyvirat import read_tubes
from tests.pipeline.host import Fault, serving
from tests.pipeline.mirror import write_file

TUBE = {"id": "00000", "path": "scene/00000.mp4", "dim": [70, 32, 32], "label": ["Riding"]}
ZIP = "mirror/tinyvirat/TinyVIRAT.zip"


def write_zip(path, lists, members=()):
    """A TinyVIRAT zip of annotation lists, as text or as JSON values, and of (name, content)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in lists.items():
            archive.writestr(name, value if isinstance(value, str) else json.dumps(value))
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.fixture
def tinyvirat(project):
    """A project with a mirror of TinyVIRAT as its one source."""
    return project.set(corpus="mirror", sources={"tinyvirat": {"kind": "tinyvirat"}})


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "{}",
        '{"tubes": 3}',
        '{"tubes": [3]}',
        '{"tubes": [{"id": "1"}]}',
        {"tubes": [TUBE | {"label": "Riding"}]},
        {"tubes": [TUBE | {"label": [3]}]},
        "null",
        "not json",
        "\x00",
    ],
    ids=range(10),
)
def test_invalid_list_is_an_error_of_one_line(here, value):
    path = write_zip(here / "a.zip", {"tiny_train.json": value})
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(WorkError, match=r"tiny_train\.json is not a TinyVIRAT list") as caught,
    ):
        read_tubes(archive, "tinyvirat")
    assert "\n" not in str(caught.value)


def test_zip_without_lists_is_an_error(here):
    with (
        zipfile.ZipFile(write_zip(here / "a.zip", {"readme.json": {}})) as archive,
        pytest.raises(WorkError, match="has no annotation list"),
    ):
        read_tubes(archive, "tinyvirat")


def test_lists_that_unpack_to_more_than_the_limit_are_not_parsed(here, monkeypatch):
    monkeypatch.setattr("pipeline.sources.tinyvirat._LISTS_LIMIT", 1000)
    path = write_zip(here / "a.zip", {"tiny_test.json": "[]" + " " * 600, "tiny_train.json": "[]" + " " * 600})
    with zipfile.ZipFile(path) as archive, pytest.raises(WorkError, match=r"tiny_train\.json unpacks to 602 bytes"):
        read_tubes(archive, "tinyvirat")


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(10, 99, "compression method"), (8, 1, "encrypted")], ids=["method", "encryption"]
)
def test_list_that_cannot_be_unpacked_is_an_error_of_one_line(here, offset, value, reason):
    path = write_zip(here / "a.zip", {"tiny_train.json": {"tubes": []}})
    data = bytearray(path.read_bytes())
    data[offset - 2] = data[data.index(b"PK\1\2") + offset] = value
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive, pytest.raises(WorkError, match=reason):
        read_tubes(archive, "tinyvirat")


def test_both_published_layouts_are_read(here):
    first = write_zip(here / "v1.zip", {"tiny_train.json": {"tubes": [TUBE]}}, [("videos/train/scene/00000.mp4", b"x")])
    second = write_zip(
        here / "v2.zip",
        {"TinyVIRAT_V2/tiny_train_v2.json": [TUBE | {"video_id": "VIRAT_1", "path": "train/VIRAT_1/00000.mp4"}]},
        [("TinyVIRAT_V2/videos/train/VIRAT_1/00000.mp4", b"x")],
    )
    for path, scene, name in (
        (first, "scene", "videos/train/scene/00000.mp4"),
        (second, "VIRAT_1", "TinyVIRAT_V2/videos/train/VIRAT_1/00000.mp4"),
    ):
        with zipfile.ZipFile(path) as archive:
            (tube,) = read_tubes(archive, "tinyvirat")
        assert (tube.clip.clip_id, tube.clip.video_id, tube.member) == ("tinyvirat-train-00000", scene, name)
        assert tube.clip.labels == ("Riding",)


def test_clips_fail_one_by_one(tinyvirat, videos):
    entries = [
        TUBE,
        TUBE | {"id": "1", "path": "scene/1.mp4"},
        TUBE | {"id": "2", "path": "../../../escape.mp4"},
        TUBE | {"id": "3", "path": "scene/3.mp4", "label": []},
        TUBE | {"id": "4", "path": "scene/4.mp4", "label": ["Riding", "Misc"]},
        TUBE | {"id": "5", "path": "scene/5.mp4"},
    ]
    members = [
        ("videos/train/scene/00000.mp4", videos[0]),
        ("videos/train/scene/3.mp4", videos[2]),
        ("videos/train/scene/4.mp4", videos[3]),
        ("videos/train/../../../escape.mp4", videos[4]),
        ("videos/train/scene/5.mp4", videos[5][:500]),
    ]
    write_zip(tinyvirat.root / ZIP, {"tiny_train.json": {"tubes": entries}}, members)
    tinyvirat.run("download")
    found = {clip_id.split("-")[-1]: row["error"] for clip_id, row in tinyvirat.rows("download").items()}
    assert found == {
        "00000": None,
        "1": "not_found",
        "2": "unsafe_path",
        "3": "missing_label",
        "4": None,
        "5": "unreadable_container",
    }
    assert not list(tinyvirat.root.rglob("escape.mp4"))


def test_oversized_member_is_too_large(tinyvirat, videos, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.archives.MEMBER_LIMIT", len(videos[0]) - 1)
    members = [("videos/train/scene/00000.mp4", videos[0])]
    write_zip(tinyvirat.root / ZIP, {"tiny_train.json": {"tubes": [TUBE]}}, members)
    tinyvirat.run("download")
    assert [row["error"] for row in tinyvirat.rows("download").values()] == ["too_large"]


def test_clips_over_the_total_limit_are_an_error(tinyvirat, videos, monkeypatch):
    monkeypatch.setattr("pipeline.sources.tinyvirat._TOTAL_LIMIT", len(videos[0]))
    members = [("videos/train/scene/00000.mp4", videos[0])]
    write_zip(tinyvirat.root / ZIP, {"tiny_train.json": {"tubes": [TUBE, TUBE | {"id": "1"}]}}, members)
    with pytest.raises(WorkError, match="its clips unpack to"):
        tinyvirat.run("download")
    assert not list((tinyvirat.root / "data/raw").rglob("*.mp4"))


def test_web_page_instead_of_the_zip_is_an_error(tinyvirat):
    write_file(tinyvirat.root / ZIP, b"<html>")
    with pytest.raises(WorkError, match="is not a zip file"):
        tinyvirat.run("download")


def test_broken_download_says_how_to_carry_on(tinyvirat):
    with serving() as host:
        host.always = Fault(status=500)
        tinyvirat.set(corpus=host.url, download__attempts=1)
        with pytest.raises(WorkError, match=r"TinyVIRAT\.zip: 500 .*; run the same command again to carry on"):
            tinyvirat.run("download")
