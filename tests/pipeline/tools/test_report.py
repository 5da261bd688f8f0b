"""The page is one file, agrees with the manifests, keeps hostile names as text, and works in a browser."""

import re
from pathlib import Path

import numpy as np
import pytest

from common.pages import Bar, BarChart, make_environment
from pipeline.records.rows import ShardRow
from pipeline.tools import report
from pipeline.tools.report.figures import histogram, most_common
from pipeline.tools.report.sheets import sheets
from pipeline.video import filmstrip
from tests.conftest import Project, make_project
from tests.pages import CHROMIUM, Document, run_in_browser
from tests.pipeline.draw import frame_times, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify", "report")
HOSTILE = "<img src=x onerror=alert(1)> & 'quoted'"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Twelve clips of three classes, one of them with a hostile name, a broken clip, and two texts."""
    root = tmp_path_factory.mktemp("report")
    made = make_project(root)
    for number in range(12):
        name = ("running", "jumping", HOSTILE)[number % 3]
        write_video(root / f"clips/{name}/{number}.mp4", frame_times(20 + number, 10))
    (root / "clips/running/broken <b>.mp4").write_bytes(b"no video")
    (root / "clips/running/<b>.txt").write_bytes(b"no video")
    (root / "clips/running/notes.txt").write_bytes(b"no video")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        made.run(*STAGES)
    return made


@pytest.fixture(scope="module")
def page(project: Project) -> str:
    return (project.root / "reports/dataset.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(page: str) -> Document:
    return Document(page)


def test_page_refers_to_no_other_file_or_host(page: str, document: Document):
    document.assert_self_contained(page)


def test_links_lead_to_elements_of_the_page(document: Document):
    document.assert_links_lead_to_elements()
    assert len({attributes["href"] for _, attributes in document.elements if "href" in attributes}) == 7


def test_hostile_names_stay_text(document: Document):
    assert not [tag for tag, attributes in document.elements if "onerror" in attributes or tag == "b"]
    assert [row[1] for row in document.rows if len(row) == 6 and row[2] == "own" and row[0] == "0"] == [HOSTILE]


def test_tables_agree_with_the_manifests(page: str, document: Document):
    assert re.search(r"12 clips of 3 classes\s+\(3 own\)", page)
    assert document.rows_that_start_with("own") == [
        ["own", "13", "13", "12", "12", "12", "12"],
        ["own", ".txt", "2", "running/<b>.txt"],
    ]
    (loss,) = document.rows_that_start_with("download")
    assert loss[:4] == ["download", "own", "unreadable_container", "1"]
    assert loss[5] == "broken <b>.mp4"
    assert "2 files beside the clips" in page
    assert ["train", "2", "8"] in document.rows
    assert ["test", "1", "4"] in document.rows
    assert "<title>128x96: 12</title>" in page


def test_every_class_has_a_sheet(document: Document):
    pictures = [attributes["src"] or "" for tag, attributes in document.elements if tag == "img"]
    assert len(pictures) == 3


def shard_row(class_id: int, length: int) -> ShardRow:
    """A clip of ten frames at the start of a.tar."""
    return ShardRow(
        clip_id=f"clip-{class_id}",
        source="own",
        class_id=class_id,
        class_name="class",
        split="train",
        valid_frames=10,
        sha256="",
        shard="a.tar",
        offset=0,
        length=length,
    )


@pytest.mark.parametrize("classes", [600, 1400])
def test_sheets_of_noise_stay_within_their_bytes_for_any_number_of_classes(here: Path, classes: int):
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    data = filmstrip.encode(noise, format="jpg", quality=95)
    Path("a.tar").write_bytes(data)
    found = dict(sheets([shard_row(number // 3, len(data)) for number in range(3 * classes)], 64))
    assert len(found) == classes
    assert sum(map(len, found.values())) < 19_000_000


def test_class_without_readable_filmstrips_has_no_sheet(here: Path):
    Path("a.tar").write_bytes(b"damaged")
    assert list(sheets([shard_row(0, 7)], 64)) == []


def test_histogram_counts_half_open_intervals_and_an_open_end():
    bars = histogram([0.5, 1, 1.5, 9, 70], [0, 1, 5], "s")
    assert bars == [Bar("0 to 1 s", 1), Bar("1 to 5 s", 2), Bar("5 s and more", 2)]


def test_most_common_sums_up_the_rest():
    assert most_common("aaabbcd", 2, "other letters") == [Bar("a", 3), Bar("b", 2), Bar("2 other letters", 2)]
    assert most_common("aab", 2, "other letters") == [Bar("a", 2), Bar("b", 1)]
    assert most_common("aab", 1) == [Bar("a", 2)]


def draw(chart: BarChart) -> str:
    """The chart as the page has it."""
    return str(make_environment(Path(report.__file__).parent).get_template("macros.html.jinja").module.bar_chart(chart))


def test_bars_are_proportional_and_labels_escaped():
    svg = draw(BarChart("x", [Bar("a & b", 1234), Bar("c", 617)]))
    assert "<title>a &amp; b: 1,234</title>" in svg
    assert [float(width) for width in re.findall(r'width="([\d.]+)"', svg)] == [234, 117]


def test_empty_chart_has_a_note():
    assert "x: nothing to show." in draw(BarChart("x", []))


def test_without_manifests_it_is_an_error_of_one_line(here: Path):
    result = make_project(here).call("report")
    assert result.returncode == 1
    assert result.stderr.startswith("error: manifests/download.parquet is missing")
    assert result.stderr.count("\n") == 1


ACTIONS = """
  const visible = () => rows.filter(row => !row.hidden).map(row => row.cells[1].textContent);
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "/"}));
  seen.focused = document.activeElement.id;
  search.value = "JUMP"; search.dispatchEvent(new Event("input"));
  seen.found = visible();
  seen.status = shown.textContent;
  search.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
  seen.after_escape = visible().length;
  split.value = "test"; split.dispatchEvent(new Event("change"));
  seen.test = visible().length;
  split.value = ""; split.dispatchEvent(new Event("change"));
  document.querySelectorAll("#classes th button")[1].click();
  document.querySelectorAll("#classes th button")[1].click();
  seen.sorted = [...body.rows].map(row => row.cells[1].textContent);
  const sheet = document.querySelector(".sheet");
  const small = sheet.getBoundingClientRect().height;
  sheet.click();
  seen.grows = sheet.getBoundingClientRect().height > 2 * small;
  seen.fits = document.documentElement.scrollWidth <= innerWidth;
  seen.widths = [...document.images].map(image => image.naturalWidth);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_search_sort_and_keyboard_in_a_browser(page: str, tmp_path: Path, width: int):
    seen = run_in_browser(page, ACTIONS, tmp_path, width)
    assert seen["focused"] == "search"
    assert seen["found"] == ["jumping"]
    assert seen["status"] == "1 of 3 classes"
    assert (seen["after_escape"], seen["test"]) == (3, 1)
    assert seen["sorted"] == ["running", "jumping", HOSTILE]
    assert seen["grows"]
    assert seen["fits"]
    assert seen["widths"] == [320, 320, 320]
