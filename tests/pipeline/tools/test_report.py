"""The page is one file, agrees with the manifests, keeps hostile names as text, and works in a browser."""

import html
import html.parser
import json
import re
import shutil
import subprocess
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
from tests.pipeline.draw import frame_times, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify", "report")
HOSTILE = "<img src=x onerror=alert(1)> & 'quoted'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Document(html.parser.HTMLParser):
    """The elements of a page with their attributes, and the text of every table row by cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()

    def rows_that_start_with(self, text: str) -> list[list[str]]:
        return [row for row in self.rows if row[0] == text]


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
    for tag, attributes in document.elements:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, value)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", page)
    assert "default-src 'none'" in next(a["content"] or "" for _, a in document.elements if "http-equiv" in a)


def test_links_lead_to_elements_of_the_page(document: Document):
    targets = {attributes["href"] for _, attributes in document.elements if "href" in attributes}
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(targets) == 7
    assert targets <= {f"#{name}" for name in ids}
    assert len(ids) == len(set(ids))


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
    assert [float(width) for width in re.findall(r'width="([\d.]+)"', svg)] == [242, 121]


def test_empty_chart_has_a_note():
    assert "x: nothing to show." in draw(BarChart("x", []))


def test_without_manifests_it_is_an_error_of_one_line(here: Path):
    result = make_project(here).call("report")
    assert result.returncode == 1
    assert result.stderr.startswith("error: manifests/download.parquet is missing")
    assert result.stderr.count("\n") == 1


ACTIONS = """
<script>
addEventListener("load", () => {
  const seen = {};
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
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script></body>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_search_sort_and_keyboard_in_a_browser(page: str, tmp_path: Path, width: int):
    (tmp_path / "page.html").write_text(page.replace("</body>", ACTIONS), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'user'}", f"--window-size={width},900", "--virtual-time-budget=5000"]
    command += ["--dump-dom", (tmp_path / "page.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    assert seen["focused"] == "search"
    assert seen["found"] == ["jumping"]
    assert seen["status"] == "1 of 3 classes"
    assert (seen["after_escape"], seen["test"]) == (3, 1)
    assert seen["sorted"] == ["running", "jumping", HOSTILE]
    assert seen["grows"]
    assert seen["fits"]
    assert seen["widths"] == [320, 320, 320]
