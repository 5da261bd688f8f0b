"""A hook of mkdocs: every notebook becomes a page, and links to a notebook lead to its page.

Text and code are shown, without outputs, because notebooks are committed without them.
"""

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_LINK = re.compile(r"(?<=\]\()([^):\s]+)\.ipynb(?=\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page beside each notebook."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb") and file.abs_src_path is not None:
            name = str(Path(file.src_uri).with_suffix(".md"))
            files.append(File.generated(config, name, content=to_markdown(Path(file.abs_src_path))))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let links lead to the page of a notebook, in place of the file."""
    return _LINK.sub(r"\1.md", markdown)


def to_markdown(notebook: Path) -> str:
    """The cells of a notebook, with a link to the file below its title."""
    blocks = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        blocks.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    download = f'<a href="{notebook.name}" download>Download this page as a notebook</a>'
    return "\n\n".join([blocks[0], download, *blocks[1:]]) + "\n"
