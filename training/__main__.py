"""`python -m training STAGE`: the training stages, one command each."""

import argparse
import importlib
import sys

from common import command

STAGES = {
    "pretrain": "a masked autoencoder on the clips of the training classes",
    "stage1": "the autoencoder fine-tuned for reconstruction, against the one that is not",
    "stage2": "small ViT with Shifted Patch Tokenization, from scratch, on TinyVIRAT",
    "stage3": "the autoencoder's encoder with a memory-augmented network on class episodes",
    "evaluate": "few-shot accuracy on the held-out classes",
    "report": "reports/results.html from the metrics",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m training", description="Shards in; checkpoints, metrics, figures out."
    )
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, purpose in STAGES.items():
        stages.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}. Obeys params.yaml.")
    return top


def main() -> None:
    """Run the stage that the command line names; torch is imported only now, so `--help` is instant."""
    stage = parser().parse_args().stage
    importlib.import_module(f"training.{stage}").main()


if __name__ == "__main__":
    sys.exit(command.run(main))
