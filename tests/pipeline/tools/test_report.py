"""The dataset's page: whole in one file, honest about losses, harmless whatever clips are called, and usable."""

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.tools.report.figures import bars, histogram
from pipeline.tools.report.sheets import sheets
from pipeline.video import filmstrip
from tests.conftest import make_project
from tests.pipeline.draw import frame_times, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify", "report")
HOSTILE = "<img src=x onerror=alert(1)> & 'quoted'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    made = make_project(root)
    for number in range(12):
        name = ("running", "jumping", HOSTILE)[number % 3]
        write_video(root / f"clips/{name}/{number}.mp4", frame_times(20 + number, 10))
    (root / "clips/running/broken <b>.mp4").write_bytes(b"no video")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        made.run(*STAGES)
    return made


@pytest.fixture(scope="module")
def page(project):
    return (project.root / "reports/dataset.html").read_text(encoding="utf-8")


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and every link between a label and a place."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_it_needs_nothing_but_itself(page):
    for tag, attributes in Elements(page).found:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, value)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", page)


def test_names_from_outside_stay_text(page):
    assert not [attributes for tag, attributes in Elements(page).found if "onerror" in attributes or tag == "b"]
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &#x27;quoted&#x27;" in page


def test_it_says_what_the_manifests_say(page):
    for text in (
        "12 clips of 3 classes",
        ">unreadable_container<",
        "broken &lt;b&gt;.mp4",
        "Clip length in its source",
        ">128x96<",
    ):
        assert text in page, text
    row = re.search(r"<tr>(<td>own</td>.*?)</tr>", page)[1]
    assert re.findall(r">(\d+)<", row) == ["13", "13", "12", "12", "12", "12"]
    assert page.count("data:image/jpeg;base64,") == 3


def test_sheets_stay_small_for_the_worst_pictures_and_any_number_of_classes(here):
    noise = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    data = filmstrip.encode(noise, format="jpg", quality=95)
    Path("a.tar").write_bytes(data)
    row = {"shard": "a.tar", "offset": 0, "length": len(data), "valid_frames": 10}
    for classes in (600, 1400):
        found = dict(sheets([row | {"class_id": number // 3} for number in range(3 * classes)], 64))
        assert len(found) == classes
        assert sum(map(len, found.values())) < 19_000_000


def test_bars_and_histograms():
    assert histogram([0.5, 1, 1.5, 9, 70], [0, 1, 5], "s") == [("0 to 1 s", 1), ("1 to 5 s", 2), ("5 s and more", 2)]
    assert "<title>a &amp; b: 1,234</title>" in bars([("a & b", 1234)], "x")
    assert "nothing to show" in bars([], "x")


def test_without_manifests_it_is_one_line(here):
    made = make_project(here / "empty")
    done = made.call("report")
    assert done.returncode == 1
    assert done.stderr.startswith("error: manifests/download.parquet is not here")


SCRIPT = """
<script>
addEventListener("load", () => {
  const seen = {};
  const visible = () => rows.filter(row => !row.hidden).map(row => row.cells[1].textContent);
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "/"}));
  seen.focused = document.activeElement.id;
  search.value = "JUMP"; search.dispatchEvent(new Event("input"));
  seen.found = visible();
  seen.told = shown.textContent;
  search.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
  seen.after = visible().length;
  side.value = "test"; side.dispatchEvent(new Event("change"));
  seen.test = visible().length;
  side.value = ""; side.dispatchEvent(new Event("change"));
  document.querySelectorAll("#classes th button")[1].click();
  document.querySelectorAll("#classes th button")[1].click();
  seen.sorted = [...body.rows].map(row => row.cells[1].textContent);
  const sheet = document.querySelector(".sheet");
  const small = sheet.getBoundingClientRect().height;
  sheet.click();
  seen.grows = sheet.getBoundingClientRect().height > 2 * small;
  seen.wide = document.documentElement.scrollWidth <= innerWidth;
  seen.pictures = [...document.images].every(image => image.naturalWidth === 320);
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script></body>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 500])
def test_search_sort_and_keyboard_in_a_browser(page, tmp_path, width):
    (tmp_path / "page.html").write_text(page.replace("</body>", SCRIPT), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'user'}", f"--window-size={width},900", "--virtual-time-budget=5000"]
    command += ["--dump-dom", (tmp_path / "page.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', dom)[1]))
    assert seen["focused"] == "search"
    assert seen["found"] == ["jumping"]
    assert seen["told"] == "1 of 3 classes"
    assert (seen["after"], seen["test"]) == (3, 1)
    assert seen["sorted"] == ["running", "jumping", HOSTILE]
    assert seen["grows"]
    assert seen["wide"]
    assert seen["pictures"]
