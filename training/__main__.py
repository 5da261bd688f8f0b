"""`python -m training STAGE`: the training stages, one command each."""

from common import signals

if __name__ == "__main__":  # before the imports below, which take most of the start
    signals.exit_at_once()

from common import lifetime

if __name__ == "__main__":
    lifetime.end_with_launcher()

import argparse
import functools
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common import command, completion

STAGES = ("pretrain", "stage1", "stage2", "stage3", "evaluate")
TOOLS = ("report", "ablation", "ablation_stage2")


ENTRY_POINT = "ssml-training"

EXAMPLES: Mapping[str, Sequence[str]] = {
    "pretrain": ("",),
    "stage1": ("",),
    "stage2": ("",),
    "stage3": ("",),
    "evaluate": ("",),
    "report": ("",),
    "ablation_stage2": ("",),
    "ablation": ("",),
    "export-latents": (
        "-o latents.parquet                                     # of the encoder that pretrain has trained",
        "-o test.npy --split test --layer 5                     # of one of its blocks",
        "-o latents.parquet --model videomae_base --weights checkpoint.pth --set image_size=64",
    ),
}


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line; `prog` is its name in the help."""
    top = argparse.ArgumentParser(
        prog=prog or command.program("training", ENTRY_POINT),
        description="Shards in; checkpoints, metrics, figures out.",
    )
    completion.add_option(top, lambda: parser(ENTRY_POINT))
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    folder = Path(__file__).parent
    for module in [folder / name for name in STAGES] + [folder / "tools" / name for name in TOOLS]:
        command.add_command(stages, module, EXAMPLES.get(module.name, ()))
    latents = stages.add_parser(
        "export-latents",
        help="one latent per clip from a trained encoder, to parquet or npy",
        description="One latent per clip, by clip_id; by default from the autoencoder that `pretrain` has trained.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.describe_examples(latents, EXAMPLES["export-latents"])
    latents.add_argument(
        "-o", "--out", type=Path, required=True, help=".parquet, or .npy with the ids in .json beside it"
    )
    latents.add_argument("--model", help="a named model; needs --weights")
    latents.add_argument("--weights", help="path, URL or hub name (OWNER/NAME) of a checkpoint in any known layout")
    latents.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="value of a field of the model's config"
    )
    latents.add_argument("--layer", type=int, default=-1, help="output of this block, from 0; -1: the last, normalised")
    latents.add_argument("--tokens", action="store_true", help="all tokens instead of their mean")
    latents.add_argument("--stride", type=int, help="ticks between frames; default: up to 4, as many as fit the clips")
    latents.add_argument("--split", choices=("train", "val", "test"), help="clips of this split only")
    return top


def load() -> Callable[[], None]:
    """The stage or tool that the command line names; torch is imported only now, so `--help` is instant."""
    arguments = parser().parse_args()
    if arguments.stage == "export-latents":
        from training.tools import latents

        return functools.partial(latents.run, arguments)
    folder = "training.tools" if arguments.stage in TOOLS else "training"
    stage: Callable[[], None] = importlib.import_module(f"{folder}.{arguments.stage}").main
    if arguments.stage in TOOLS:
        return stage
    from training.engine import distributed

    return distributed.launched(arguments.stage, stage)


def main() -> None:
    """Run the stage or tool that the command line names."""
    command.loaded(load)()


def entry_point() -> int:
    """The installed command `ssml-training`; returns the exit code."""
    signals.exit_at_once()
    lifetime.end_with_launcher()
    return _run()


def _run() -> int:
    if os.environ.get("RANK", "0") != "0":
        signals.printed()  # Ctrl-C reaches all processes of `torchrun`; the first one prints the line
    return command.run(command.loaded(load))


if __name__ == "__main__":
    sys.exit(_run())
