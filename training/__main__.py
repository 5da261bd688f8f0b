"""`python -m training STAGE`: the training stages, one command each."""

import argparse
import importlib
import sys
from pathlib import Path

from common import command

STAGES = ("pretrain", "stage1", "stage2", "stage3", "evaluate")
TOOLS = ("report",)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m training", description="Shards in; checkpoints, metrics, figures out."
    )
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    folder = Path(__file__).parent
    for module in [folder / name for name in STAGES] + [folder / "tools" / name for name in TOOLS]:
        command.add_command(stages, module)
    latents = stages.add_parser(
        "export-latents",
        help="one latent per clip from a trained encoder, to parquet or npy",
        description="One latent per clip, by clip_id; by default from the autoencoder that `pretrain` has trained.",
    )
    latents.add_argument(
        "-o", "--out", type=Path, required=True, help=".parquet, or .npy with the ids in .json beside it"
    )
    latents.add_argument("--model", help="a named model; needs --weights")
    latents.add_argument("--weights", help="path or URL of a checkpoint: ours, MAE-ST's, VideoMAE's or Hugging Face's")
    latents.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="value of a field of the model's config"
    )
    latents.add_argument("--layer", type=int, default=-1, help="output of this block, from 0; -1: the last, normalised")
    latents.add_argument("--tokens", action="store_true", help="all tokens instead of their mean")
    latents.add_argument("--stride", type=int, default=4, help="ticks between frames")
    latents.add_argument("--split", choices=("train", "val", "test"), help="clips of this split only")
    return top


def main() -> None:
    """Run the stage that the command line names; torch is imported only now, so `--help` is instant."""
    arguments = parser().parse_args()
    if arguments.stage == "export-latents":
        from training.tools import latents

        latents.run(arguments)
    else:
        folder = "training.tools" if arguments.stage in TOOLS else "training"
        importlib.import_module(f"{folder}.{arguments.stage}").main()


if __name__ == "__main__":
    sys.exit(command.run(main))
