"""`python -m pipeline STAGE`: the data stages and the tools to inspect them, one command each."""

from common import signals

if __name__ == "__main__":  # before the imports below, which take most of the start
    signals.exit_at_once()

from common import lifetime

if __name__ == "__main__":
    lifetime.end_with_launcher()

import argparse
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from common import command, lock

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")
TOOLS = ("stats", "show", "report", "retry", "corpus", "crate", "export", "publish")


def parser() -> argparse.ArgumentParser:
    """The command line: one command per module, described by the module's docstring."""
    top = argparse.ArgumentParser(prog="python -m pipeline", description="Videos in, shards out.")
    commands = top.add_subparsers(dest="command", required=True, metavar="STAGE")
    folder = Path(__file__).parent
    modules = [folder / name for name in STAGES] + [folder / "tools" / name for name in TOOLS]
    by_name = {module.name: command.add_command(commands, module) for module in modules}

    download = by_name["download"]
    download.add_argument("--only", metavar="SOURCE", help="download this source only")
    download.add_argument("--dry-run", action="store_true", help="print the plan; download annotation lists only")
    download.add_argument("--refill", action="store_true", help="download again the bytes that keep_raw: false dropped")

    show = by_name["show"]
    subject = show.add_mutually_exclusive_group(required=True)
    subject.add_argument("clip_id", nargs="?", metavar="CLIP_ID", help="clip whose ticks to show")
    subject.add_argument("--class", dest="class_name", metavar="NAME", help="class whose first clips to show")
    subject.add_argument("--failures", metavar="CODE", help="failure code whose clips to show, such as decode_error")
    show.add_argument(
        "-o", "--out", type=Path, required=True, help="picture to write, .png or .jpg, or animation, .gif or .webp"
    )

    export = by_name["export"]
    export.add_argument("--format", required=True, choices=["parquet", "lance", "numpy", "mp4", "fiftyone"])
    export.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FOLDER", help="new folder, or one to continue"
    )
    export.add_argument("--split", choices=["train", "val", "test"], help="clips of this split only")
    export.add_argument(
        "--size",
        type=int,
        choices=[64, 112, 224],
        help="pixels, at most those of the shards; default: as in the shards",
    )

    publish = by_name["publish"]
    publish.add_argument("url", metavar="URL", help="fsspec URL, or hf://datasets/OWNER/NAME (token in HF_TOKEN)")
    publish.add_argument("--dry-run", action="store_true", help="list the files and their sizes; upload nothing")

    by_name["corpus"].add_argument("corpus", metavar="sample|full|PATH|URL", help="value to write into params.yaml")
    return top


def load() -> Callable[[], None]:
    """`main` of the module that the command line names; only this module is imported, so that `--help` is fast."""
    arguments = vars(parser().parse_args())
    name = arguments.pop("command")
    package = "pipeline.tools" if name in TOOLS else "pipeline"
    main = functools.partial(importlib.import_module(f"{package}.{name}").main, **arguments)
    return lock.alone(name, main) if name in STAGES else main


if __name__ == "__main__":
    sys.exit(command.run(load()))
