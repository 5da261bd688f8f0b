"""Side-by-side timing: every method does its work in every round, so that a noisy machine is noisy for all alike."""

import os
import platform
import random
import resource
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tqdm import tqdm


@dataclass(frozen=True)
class Target:
    """One line of the closing table: `ours` over `peer` (or peer over ours) against a bound."""

    what: str
    ours: float  # seconds, or another unit in which less is better
    peer: float
    peer_name: str
    bound: float
    faster: bool  # True: the peer takes at least `bound` times as long; False: ours takes at most `bound` of the peer

    @property
    def ratio(self) -> float:
        """What is held against the bound."""
        return self.peer / self.ours if self.faster else self.ours / self.peer

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.bound if self.faster else self.ratio <= self.bound


class UnableError(Exception):
    """A method cannot do this piece of work at all."""


def side_by_side(methods: Mapping[str, Callable[[], object]], *, rounds: int, label: str = "") -> dict[str, float]:
    """Median seconds of processor time of each method over `rounds` rounds, in an order drawn anew for each round.

    Processor time (of this process and its children, user and system) on one core is what a method costs; on a shared
    machine the clock on the wall also counts everybody else's. A first round, not counted, warms the caches and leaves
    out the methods that are unable.
    """
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    with tqdm(total=(rounds + 1) * len(methods), desc=label, leave=False, disable=None) as bar:
        for turn in range(rounds + 1):
            for name in order.sample(list(seconds), len(seconds)):
                start = _processor_seconds()
                try:
                    methods[name]()
                except UnableError:
                    del seconds[name]
                    continue
                if turn:
                    seconds[name].append(_processor_seconds() - start)
                bar.update()
    return {name: statistics.median(times) for name, times in seconds.items()}


def _processor_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def pin() -> None:
    """Keep this process and its children on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for a terminal as well."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def print_targets(targets: Sequence[Target]) -> None:
    """The closing table and the line that counts it."""
    rows = [
        [
            target.what,
            f"{target.ours:.4g}",
            f"{target.peer_name} {target.peer:.4g}",
            f"{target.ratio:.2f}x",
            f"{'>=' if target.faster else '<='} {target.bound:g}x",
            "met" if target.met else "missed",
        ]
        for target in targets
    ]
    print(table(["what", "ours", "peer", "ratio", "target", ""], rows))
    met = sum(target.met for target in targets)
    print(f"\ntargets: {met} met, {len(targets) - met} missed")


def machine() -> str:
    """What this was measured on, in a line."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{datetime.now(UTC):%Y-%m-%d}, {name}, {os.cpu_count()} cores"
