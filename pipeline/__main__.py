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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common import command, completion, lock

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")
TOOLS = ("stats", "show", "report", "retry", "corpus", "crate", "export", "publish")

ENTRY_POINT = "ssml-pipeline"
JSON = ("download", "verify", "stats", "show")  # their modules have a `main_json`

EXAMPLES: Mapping[str, Sequence[str]] = {
    "download": (
        "                    # all clips that the composite needs",
        "--dry-run           # what would be fetched: clips by class, archives, bytes",
        "--dry-run --json    # the same for a program",
        "--only tinyvirat    # one source",
    ),
    "trim": ("",),
    "resample": ("",),
    "resize": ("",),
    "merge": ("",),
    "split": ("",),
    "shard": ("",),
    "verify": ("", "--json    # counts and problems for a program"),
    "stats": ("", "--json    # the same tables for a program"),
    "show": (
        "k400-83WydRrhMA7-000165-000175 -o clip.png    # all ticks of a clip",
        "--class 'squatting fast' -o class.jpg         # the first clips of a class",
        "--class 'squatting fast' -o class.gif         # the same, moving",
        "--failures decode_error -o lost.png           # clips that were lost, with their reasons",
    ),
    "report": ("",),
    "retry": ("",),
    "corpus": ("full", "/mnt/mirror    # a folder in the hosts' layout", "sample"),
    "crate": ("",),
    "export": ("--format parquet -o exported", "--format mp4 --split test -o videos    # the clips of one split"),
    "publish": ("s3://bucket/folder --dry-run", "hf://datasets/OWNER/NAME"),
}


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line: one command per module, described by the module's docstring; `prog` is its name in the help."""
    top = argparse.ArgumentParser(
        prog=prog or command.program("pipeline", ENTRY_POINT), description="Videos in, shards out."
    )
    completion.add_option(top, lambda: parser(ENTRY_POINT))
    commands = top.add_subparsers(dest="command", required=True, metavar="STAGE")
    folder = Path(__file__).parent
    modules = [folder / name for name in STAGES] + [folder / "tools" / name for name in TOOLS]
    by_name = {module.name: command.add_command(commands, module, EXAMPLES.get(module.name, ())) for module in modules}

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
    for name in JSON:
        by_name[name].add_argument(
            "--json", action="store_true", help="one JSON document on stdout, all else on stderr"
        )
    return top


def load() -> Callable[[], None]:
    """`main` of the module that the command line names; only this module is imported, so that `--help` is fast."""
    arguments = vars(parser().parse_args())
    name = arguments.pop("command")
    package = "pipeline.tools" if name in TOOLS else "pipeline"
    module = importlib.import_module(f"{package}.{name}")
    main = functools.partial(module.main_json if arguments.pop("json", False) else module.main, **arguments)
    return lock.alone(name, main) if name in STAGES else main


def entry_point() -> int:
    """The installed command `ssml-pipeline`; returns the exit code."""
    signals.exit_at_once()
    lifetime.end_with_launcher()
    return command.run(command.loaded(load))


if __name__ == "__main__":
    sys.exit(command.run(command.loaded(load)))
