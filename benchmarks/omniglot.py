"""Accuracy at the k-th instance of a class on Omniglot, beside the published one (Santoro et al. 2016), and ProtoNet's.

Needs SHARED_DATA/omniglot. The two alphabets that come last by name are held out; of the others an embedding is trained by
prototypical networks, and on it, frozen, every head, in Santoro's order (each label one step late), by one step of the network
per drawing as published and by two, and in rounds. Heads learn from mirrored drawings too, whose embeddings are as inexact as
those of held-out characters, because the embedding has not learned from them. An interrupted run goes on where it stopped.
"""

import argparse
import bisect
import contextlib
import hashlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from benchmarks.characters import JITTER, ConvEmbedding, Drawings, augment, read_alphabets, with_mirrored, with_turns
from benchmarks.measure import Target, describe_machine, markdown_table, print_targets
from benchmarks.orders import EMBEDDING, INSTANCES, METHODS, ROUNDS, SCALE, SEQUENCE, TWO_STEPS, WAY, Method, Order
from training.engine.checkpoints import Run, fingerprint
from training.engine.loop import train
from training.engine.statistics import mean_ci95
from training.engine.task import Draw, Task
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.head import Head
from training.fewshot.protonet import PrototypeHead
from training.fewshot.sequential import exclusion_accuracy
from training.params import Optimiser

_HELD_OUT = 2  # alphabets
_VIEWS = 4  # augmented embeddings of each drawing that heads are trained on
_COPIES = 3  # jittered, of a held-out drawing, whose embeddings and its own are averaged
_WAY_OF_EMBEDDING, _SHOTS_OF_EMBEDDING = 20, 3
_SHOWN = (1, 2, 3, 4, 5, 10)
_PUBLISHED = {
    "MANN": {1: 0.364, 2: 0.828, 3: 0.910, 4: 0.926, 5: 0.949, 10: 0.981},
    "LSTM": {1: 0.244, 2: 0.495, 3: 0.553, 4: 0.610, 5: 0.636, 10: 0.625},
}


class Phase(NamedTuple):
    """A part of a head's training.

    Args:
        share: of its steps.
        instances: of each class in its episodes.
        order: of its episodes.
    """

    share: float
    instances: int
    order: Order


def _short_first(order: Order) -> tuple[Phase, ...]:
    return Phase(0.3, 3, order), Phase(0.2, 5, order), Phase(0.5, INSTANCES, order)


_PHASES = {  # of heads, by the order that they are measured in
    SEQUENCE: _short_first(SEQUENCE),
    ROUNDS: _short_first(ROUNDS),
    TWO_STEPS: (
        Phase(0.15, 3, ROUNDS),
        Phase(0.1, 5, ROUNDS),
        Phase(0.25, INSTANCES, ROUNDS),
        Phase(0.5, INSTANCES, TWO_STEPS),
    ),
}


@dataclass(frozen=True)
class Budget:
    """Steps of the trainings, and what else they depend on.

    Args:
        embedding: of the embedding.
        sequence: of every head with the label one step late, which takes longer to learn.
        two_steps: of every head with the label one step late and two steps of the network per drawing.
        rounds: of every head in rounds.
        data: digest of the drawings.
        seed: of all random numbers.
    """

    embedding: int
    sequence: int
    two_steps: int
    rounds: int
    data: str = ""
    seed: int = 0

    def steps(self, order: Order) -> int:
        """Of a head in this order."""
        return {SEQUENCE: self.sequence, TWO_STEPS: self.two_steps, ROUNDS: self.rounds}[order]


class Batch(NamedTuple):
    """Drawings or embeddings of episodes, their labels, and the order they are in."""

    shown: Tensor  # (B, ..., 28, 28) or (B, ..., E)
    labels: Tensor  # (B, ...)
    order: Order = ROUNDS


def main() -> None:
    """Train what is not yet trained, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "omniglot", help="of the networks")
    parser.add_argument("--embedding-steps", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=10000, help="of every head with the label one step late")
    parser.add_argument(
        "--two-step-steps", type=int, default=8000, help="of those with two steps of the network per drawing"
    )
    parser.add_argument("--round-steps", type=int, default=2000, help="of every head in rounds")
    parser.add_argument("--episodes", type=int, default=10000, help="that accuracies are measured on")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("SHARED_DATA", "../shared"), "omniglot")
    archives = sorted(folder.glob("*.zip"))
    if not archives:
        sys.exit(f"{folder} has no *.zip: SHARED_DATA names the folder with omniglot/*.zip")
    budget = Budget(arguments.embedding_steps, arguments.steps, arguments.two_step_steps, arguments.round_steps)
    alphabets = read_alphabets(archives)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(arguments.folder):
        results = measure(list(alphabets.values()), budget, arguments.episodes)
    report(results, list(alphabets), budget)


def measure(alphabets: Sequence[Tensor], budget: Budget, episodes: int) -> dict[Method, Tensor]:
    """Accuracy of each method at each instance of each episode of the held-out alphabets, (episodes, instances)."""
    train_set, test_set = with_turns(alphabets[:-_HELD_OUT]), with_turns(alphabets[-_HELD_OUT:])
    budget = replace(budget, data=hashlib.sha256(train_set.images.numpy().tobytes()).hexdigest())
    embedding = train_embedding(train_set, budget)
    learned = with_mirrored(train_set)
    views = torch.stack(
        [embedding.of_all(augment(learned.images, Generator().manual_seed(view))) for view in range(_VIEWS)], 1
    )
    embedded = embedding.averaged(test_set.images, Generator().manual_seed(budget.seed), _COPIES)
    drawn = EpisodeSampler(test_set.classes, WAY, INSTANCES).draw(episodes, Generator().manual_seed(budget.seed))
    results = {}
    for method in METHODS:
        torch.manual_seed(budget.seed)
        head = method.build()
        if any(True for _ in head.parameters()):
            train_head(method, head, views, learned.classes, budget)
        results[method] = method.order.accuracies(head.eval(), embedded, drawn)
        shown = " ".join(f"{share:.1%}" for share in results[method].mean(0).tolist())
        print(f"{method.name}, {method.order.name}: {shown}", flush=True)
    return results


def train_embedding(drawings: Drawings, budget: Budget) -> ConvEmbedding:
    """The embedding, trained by 20-way episodes of augmented drawings in which class means classify (Snell et al. 2017)."""
    torch.manual_seed(budget.seed)
    model, prototypes = ConvEmbedding(EMBEDDING), PrototypeHead()
    sampler = EpisodeSampler(drawings.classes, _WAY_OF_EMBEDDING, _SHOTS_OF_EMBEDDING)
    optimiser = _optimiser(budget.embedding, batch=2)

    def draw(step: Draw) -> Batch:
        episodes = sampler.draw(optimiser.batch, step.generator)
        images = augment(drawings.images[episodes.clips.flatten()], step.generator)
        return Batch(images.unflatten(0, episodes.clips.shape), episodes.labels)

    def compute(batch: Batch) -> dict[str, Tensor]:
        embedded = model(batch.shown.flatten(0, 2)).unflatten(0, batch.labels.shape)
        known = F.one_hot(batch.labels, _WAY_OF_EMBEDDING).to(embedded)
        return _loss_and_accuracy(prototypes.rounds(SCALE * embedded, known)[:, 1:], batch.labels[:, 1:])

    train(_run("embedding", budget, optimiser, budget.embedding), model, optimiser, Task(draw, compute))
    return model


def train_head(method: Method, head: Head, views: Tensor, classes: Tensor, budget: Budget) -> None:
    """Train a head on episodes of the training drawings, by their embeddings (N, views, E), phase by phase."""
    steps, phases = budget.steps(method.order), _PHASES[method.order]
    optimiser = _optimiser(steps, batch=16)
    sampler = EpisodeSampler(classes, WAY, INSTANCES)
    ends = [share * steps for share in itertools.accumulate(phase.share for phase in phases[:-1])]

    def draw(step: Draw) -> Batch:
        phase = phases[bisect.bisect_right(ends, step.step)]
        episodes = sampler.draw(optimiser.batch, step.generator, shots=phase.instances)
        arranged = phase.order.arrange(episodes, step.generator)
        view = torch.randint(views.shape[1], arranged.clips.shape, generator=step.generator)
        return Batch(views[arranged.clips, view], arranged.labels, phase.order)

    def compute(batch: Batch) -> dict[str, Tensor]:
        known = F.one_hot(batch.labels, WAY).to(batch.shown)
        return _loss_and_accuracy(batch.order.classify(head, batch.shown, known), batch.labels)

    name = f"{method.name}_{method.order.name.replace(' ', '_')}"
    shaping = [(phase.share, phase.instances, phase.order.name) for phase in phases]
    train(_run(name, budget, optimiser, budget.embedding, shaping), head, optimiser, Task(draw, compute))


def report(results: Mapping[Method, Tensor], alphabets: Sequence[str], budget: Budget) -> None:
    """Print the tables and the targets."""
    episodes = len(next(iter(results.values())))
    print(
        f"\n{describe_machine()}, held out: {', '.join(alphabets[-_HELD_OUT:])}, {budget.embedding} steps of the embedding, "
        f"{budget.sequence}, {budget.two_steps} and {budget.rounds} of each head, {episodes} episodes\n"
    )
    table = [
        [f"{name}, Santoro et al. 2016", SEQUENCE.name, *(f"{values[number]:.1%}" for number in _SHOWN)]
        for name, values in _PUBLISHED.items()
    ]
    table += [
        [method.name, method.order.name, *(_interval(values[:, number - 1]) for number in _SHOWN)]
        for method, values in results.items()
    ]
    table.append(
        ["ruling out labels alone", SEQUENCE.name, f"{float(exclusion_accuracy(WAY)):.1%}", *["" for _ in _SHOWN[1:]]]
    )
    print(markdown_table(["method", "order", *(f"instance {number}" for number in _SHOWN)], table))
    by_name = {(method.name, method.order): values for method, values in results.items()}
    prototypes = by_name["prototypes", ROUNDS]
    print(f"\nProtoNet, 5-way: 1-shot {_interval(prototypes[:, 1])}, 5-shot {_interval(prototypes[:, 5])}\n")
    for order in (SEQUENCE, TWO_STEPS):
        print(f"{order.name}:")
        print_targets(list(targets(by_name["MANN", order].mean(0), by_name["LSTM", order].mean(0))))


def targets(mann: Tensor, lstm: Tensor) -> Iterator[Target]:
    """No more errors than published, and half of the LSTM's; accuracies by instance, (instances,)."""
    for number in (2, 3, 5, 10):
        errors = 1 - float(mann[number - 1])
        yield Target(
            f"errors of the MANN, instance {number}", errors, 1 - _PUBLISHED["MANN"][number], "published", 1.0, False
        )
        if number == 2:
            yield Target(
                f"errors of the MANN, instance {number}", errors, 1 - float(lstm[number - 1]), "LSTM", 0.5, False
            )


def _interval(values: Tensor) -> str:
    mean, ci95 = mean_ci95(values)
    return f"{mean:.1%} ± {ci95:.1%}"


def _loss_and_accuracy(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Loss and accuracy of logits (..., way)."""
    loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten())
    return {"loss": loss, "accuracy": (logits.argmax(-1) == labels).float().mean()}


def _optimiser(steps: int, batch: int) -> Optimiser:
    return Optimiser(
        steps=steps,
        warmup=min(20, steps - 1),
        batch=batch,
        lr=3e-3,
        weight_decay=0.01,
        betas=(0.9, 0.95),
        clip_norm=1.0,
    )


def _run(name: str, budget: Budget, *shaping: object) -> Run:
    return Run(name, fingerprint(name, budget.data, JITTER, *shaping), budget.seed)


if __name__ == "__main__":
    main()
