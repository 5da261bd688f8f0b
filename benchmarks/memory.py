"""A training step of the memory-augmented network on whole sequences, with and without its steps compiled by torch.compile."""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Generator
from torch.nn import functional as F

from benchmarks.measure import Target, describe_machine, print_targets, side_by_side
from benchmarks.orders import EMBEDDING, INSTANCES, WAY, build_mann
from training.fewshot.recurrent import RecurrentHead


def main() -> None:
    """Compile, measure both side by side, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    eager, compiled = (training_step(arguments.batch) for _ in range(2))
    compiled[1].network.compile()
    start = time.monotonic()
    compiled[0]()
    compile_s = time.monotonic() - start
    times = side_by_side({"eager": eager[0], "compiled": compiled[0]}, rounds=arguments.rounds)
    saved = times["eager"] - times["compiled"]
    print(
        f"\n{describe_machine()}, one thread, torch {torch.__version__}: {arguments.batch} sequences of {WAY * INSTANCES} clips, "
        f"forward and backward, processor time, medians of {arguments.rounds}\n"
        f"compiled in {compile_s:.0f} s of wall time"
        + (f", which {compile_s / saved:,.0f} steps save\n" if saved > 0 else "\n")
    )
    print_targets([Target("compiled steps", times["compiled"], times["eager"], "eager", 1.0, True)])


def training_step(batch: int) -> tuple[Callable[[], None], RecurrentHead]:
    """Forward and backward on random sequences, and the head that does them."""
    torch.manual_seed(0)
    head, generator = build_mann(), Generator().manual_seed(0)
    shown = torch.randn(batch, WAY * INSTANCES, EMBEDDING, generator=generator)
    labels = torch.randint(WAY, shown.shape[:2], generator=generator)

    def step() -> None:
        logits = head.sequence(shown, F.one_hot(labels, WAY).to(shown))
        F.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()

    return step, head


if __name__ == "__main__":
    main()
