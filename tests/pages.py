"""HTML pages as tests see them: their elements and tables, and what scripts in a browser say about them."""

import html
import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Document(html.parser.HTMLParser):
    """The elements of a page with their attributes, its text, and the text of every table row by cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.tables: dict[str, list[list[str]]] = {}  # rows by caption
        self.text = ""
        self._inside: list[str] = []
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th", "caption", "style", "script"):
            self._inside.append(tag)
        if tag == "table":
            self._caption = ""
        elif tag == "tr":
            self.rows.append([])
            self.tables.setdefault(self._caption, []).append(self.rows[-1])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        place = self._inside[-1] if self._inside else ""
        if place in ("td", "th"):
            self.rows[-1][-1] += data.strip()
        elif place == "caption":
            self._caption += data.strip()
        if place not in ("style", "script"):
            self.text += data

    def rows_that_start_with(self, text: str) -> list[list[str]]:
        return [row for row in self.rows if row[0] == text]

    def assert_self_contained(self, page: str) -> None:
        """No element refers to another file or host, and no style or script does."""
        for tag, attributes in self.elements:
            for name in ("src", "href", "srcset", "action"):
                value = attributes.get(name)
                assert value is None or value.startswith(("data:image/", "#")), (tag, value)
        assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", page)
        assert "default-src 'none'" in next(a["content"] or "" for _, a in self.elements if "http-equiv" in a)

    def assert_links_lead_to_elements(self) -> None:
        """Links are to ids of the page, each of which is there once."""
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert {a["href"] for _, a in self.elements if "href" in a} <= {f"#{name}" for name in ids}
        assert len(ids) == len(set(ids))


def run_in_browser(page: str, script: str, folder: Path, width: int) -> dict[str, Any]:
    """What a script that runs in the page, in Chromium, has put into the object `seen`.

    Args:
        page: HTML.
        script: JavaScript, run when the page is loaded.
        folder: an empty one for the browser's files.
        width: of the window, pixels.
    """
    added = (
        '<script>addEventListener("load", () => {\nconst seen = {};\n'
        + script
        + '\nconst out = document.createElement("pre");'
        'out.id = "seen"; out.textContent = JSON.stringify(seen); document.body.append(out);});</script></body>'
    )
    (folder / "page.html").write_text(page.replace("</body>", added), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'user'}", f"--window-size={width},900", "--virtual-time-budget=5000"]
    command += ["--dump-dom", (folder / "page.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom)
    assert found is not None
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen
