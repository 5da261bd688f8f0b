"""Side-by-side timing: every method runs in every round, so that other load on the machine affects all alike."""

import os
import platform
import random
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm


@dataclass(frozen=True)
class Target:
    """A ratio of two measurements and the bound that it is to reach."""

    name: str
    ours: float  # seconds, or another quantity of which less is better
    peer: float
    peer_name: str
    bound: float
    faster: bool  # True: peer / ours must be at least the bound; False: ours / peer must be at most the bound

    @property
    def ratio(self) -> float:
        """The ratio that is compared with the bound."""
        return self.peer / self.ours if self.faster else self.ours / self.peer

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the bound."""
        return self.ratio >= self.bound if self.faster else self.ratio <= self.bound


class UnsupportedError(Exception):
    """A method cannot process this input."""


def processor_seconds() -> float:
    """Processor time of this process and its children so far, user and system.

    Unlike wall time, it does not count other processes of a shared machine.
    """
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def side_by_side(
    methods: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    label: str = "",
    clock: Callable[[], float] = processor_seconds,
) -> dict[str, float]:
    """Median time, in seconds by `clock`, of each method over `rounds` rounds, each round in a new random order.

    A first round, not counted, warms the caches; methods that raise `UnsupportedError`
    are left out.
    """
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    with tqdm(total=(rounds + 1) * len(methods), desc=label, leave=False, disable=None) as bar:
        for number in range(rounds + 1):
            for name in order.sample(list(seconds), len(seconds)):
                start = clock()
                try:
                    methods[name]()
                except UnsupportedError:
                    del seconds[name]
                    continue
                if number > 0:
                    seconds[name].append(clock() - start)
                bar.update()
    return {name: statistics.median(times) for name, times in seconds.items()}


def pin_to_one_core() -> None:
    """Run this process and its children on one core only, where the platform allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of equal width."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def print_targets(targets: Sequence[Target]) -> None:
    """Print the table of targets and how many are met."""
    rows = [
        [
            target.name,
            f"{target.ours:.4g}",
            f"{target.peer_name} {target.peer:.4g}",
            f"{target.ratio:.2f}x",
            f"{'>=' if target.faster else '<='} {target.bound:g}x",
            "met" if target.met else "missed",
        ]
        for target in targets
    ]
    print(markdown_table(["what", "ours", "peer", "ratio", "target", ""], rows))
    met = sum(target.met for target in targets)
    print(f"\ntargets: {met} met, {len(targets) - met} missed")


def describe_machine() -> str:
    """Date, processor and number of cores, in one line."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{datetime.now(UTC):%Y-%m-%d}, {name}, {os.cpu_count()} cores"
