"""`python -m pipeline STAGE`: the data stages, one command each."""

import argparse
import importlib
import sys
from pathlib import Path

from common import command

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard", "verify")
TOOLS = ("stats", "report", "retry")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m pipeline", description="Videos in, shards out.")
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    folder = Path(__file__).parent
    modules = [folder / name for name in STAGES] + [folder / "tools" / name for name in TOOLS]
    made = {module.name: command.add_command(stages, module) for module in modules}
    made["download"].add_argument("--only", metavar="SOURCE", help="fetch this source alone")
    made["download"].add_argument("--dry-run", action="store_true", help="say what would be fetched; fetch lists only")
    made["download"].add_argument("--refill", action="store_true", help="fetch again what keep_raw: false has dropped")
    show = stages.add_parser(
        "show",
        help="contact sheet of a clip, a class, or the losses of one kind",
        description="Contact sheet as a picture.",
    )
    what = show.add_mutually_exclusive_group(required=True)
    what.add_argument("clip_id", nargs="?", metavar="CLIP_ID", help="the clip whose ticks to show")
    what.add_argument("--class", dest="class_name", metavar="NAME", help="show clips of this class instead")
    what.add_argument("--failures", metavar="CODE", help="show what was lost for this reason, such as decode_error")
    show.add_argument("-o", "--out", type=Path, required=True, help="picture to write, .png or .jpg")
    corpus = stages.add_parser("corpus", help="switch params.yaml to sample, full, or a mirror")
    corpus.add_argument("corpus", metavar="sample|full|PATH|URL")
    return top


def main() -> None:
    """Run the stage that the command line names; its module is imported only now, so `--help` is instant."""
    arguments = parser().parse_args()
    if arguments.stage == "show":
        from pipeline.tools import show

        if arguments.class_name is not None:
            show.show_class(arguments.class_name, arguments.out)
        elif arguments.failures is not None:
            show.show_failures(arguments.failures, arguments.out)
        else:
            show.show_clip(arguments.clip_id, arguments.out)
    elif arguments.stage == "corpus":
        from pipeline.tools.corpus import switch

        switch(arguments.corpus)
    elif arguments.stage == "download":
        from pipeline import download

        download.main(only=arguments.only, dry_run=arguments.dry_run, refill=arguments.refill)
    else:
        folder = "pipeline.tools" if arguments.stage in TOOLS else "pipeline"
        importlib.import_module(f"{folder}.{arguments.stage}").main()


if __name__ == "__main__":
    sys.exit(command.run(main))
