"""Few-shot recognition of real hand gestures: the heads of stage 3 on a masked autoencoder, beside trivial classifiers.

Needs SHARED_DATA. The videos, hands drawn as skeletons on black, pass through the project's own pipeline as a source of kind
`folder`. Splits hold out 4 of the 12 classes, or 5. On the others an autoencoder is pre-trained, an embedding of its features
learns to classify them, and heads learn from their episodes. All are measured in the same episodes of the held-out classes,
in which the clips of a class are of different blocks of file numbers, because neighbouring files may show one person.
An interrupted run goes on where it stopped.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from benchmarks.centred import CentredWindows
from benchmarks.labelled import differences, file_number, first_frame, labelled_videos, number_blocks, write_shards
from benchmarks.measure import describe_machine, markdown_table
from common.files import write_json
from training import params
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import Run, data_fingerprint, fingerprint
from training.engine.loop import Draw, Task, train
from training.engine.statistics import mean_ci95
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.head import Head
from training.fewshot.heads import HEADS, build_head
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead
from training.models import MAE, create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import NAMED_HEADS, Optimiser, Stage3

_VERSION = 1  # of the code that shapes weights
_BLOCKS = 8  # of file numbers, in a class
_SHOTS = (1, 5)
_SIZE = 32  # pixels around the hand
_BATCH = 64


@dataclass(frozen=True)
class Settings:
    """What shapes a run. Values were chosen on training classes of the first split alone: half of them against the others.

    Args:
        pretrain_steps: of the autoencoder.
        embedding_steps: of the embedding.
        head_steps: of every head that is trained.
        turns: quarter turns of the training clips; turned clips are classes of their own.
        views: embeddings of each training clip, with dropout, that heads train on.
    """

    pretrain_steps: int = 300
    embedding_steps: int = 400
    head_steps: int = 200
    episodes: int = 400
    turns: int = 4
    views: int = 4
    frames: int = 20
    ratio: float = 0.75
    patch: int = 8
    dim: int = 96
    hidden: int = 256
    embedding: int = 64
    dropout: float = 0.5
    scale: float = 16.0
    seed: int = 0


def main() -> None:
    """Write the shards, train and measure on every split, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "gestures", help="of the shards and networks"
    )
    parser.add_argument("--ways", type=int, nargs="+", choices=(4, 5), default=[4, 5])
    parser.add_argument(
        "--splits", type=int, default=3, choices=(1, 2, 3), help="of the classes; three test every class"
    )
    for name in ("pretrain_steps", "embedding_steps", "head_steps", "episodes"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Settings, name))
    arguments = parser.parse_args()
    settings = Settings(arguments.pretrain_steps, arguments.embedding_steps, arguments.head_steps, arguments.episodes)
    write_shards(arguments.folder, "gestures", labelled_videos("gesture12"))
    torch.set_num_threads(1)
    with contextlib.chdir(arguments.folder):
        clips = Clips()
        for way in arguments.ways:
            found = [_measured(clips, way, number, settings) for number in range(arguments.splits)]
            print(f"\n{describe_machine()}, {len(clips)} clips, {way}-way, {len(found)} splits of the classes\n")
            print_table(found)


def class_splits(classes: int, way: int, seed: int) -> list[list[int]]:
    """Three choices of `way` held-out classes, which together are all 12 classes; 5 of a choice may be 5 of another's."""
    order = torch.randperm(classes, generator=Generator().manual_seed(seed)).tolist()
    return [sorted(order[first : first + way]) for first in (0, (classes - way) // 2, classes - way)]


class BlockEpisodes:
    """Draws episodes in which all clips of a class are of different blocks.

    Args:
        classes: class of each clip, (N,); every class is in every episode.
        blocks: block of each clip, (N,).
        rounds: clips of each class in an episode.

    Raises:
        ValueError: a class has clips of fewer than `rounds` blocks.
    """

    def __init__(self, classes: Tensor, blocks: Tensor, rounds: int) -> None:
        self._members = [
            [((classes == name) & (blocks == block)).nonzero()[:, 0] for block in blocks[classes == name].unique()]
            for name in classes.unique()
        ]
        fewest = min(map(len, self._members))
        if fewest < rounds:
            raise ValueError(f"a class has clips of {fewest} blocks: episodes of {rounds} rounds need as many")
        self._rounds = rounds

    def draw(self, number: int, generator: Generator) -> Episodes:
        """Draw `number` episodes; labels are in another order in each round."""
        clips = torch.empty(number, self._rounds, len(self._members), dtype=torch.long)
        for episode in clips:
            for name, blocks in enumerate(self._members):
                chosen = torch.randperm(len(blocks), generator=generator)[: self._rounds]
                for position, block in enumerate(chosen.tolist()):
                    one = torch.randint(len(blocks[block]), (), generator=generator)
                    episode[position, name] = blocks[block][one]
        labels = torch.rand(clips.shape, generator=generator).argsort(2)
        return Episodes(clips.gather(2, labels), labels)


class NearestNeighbourHead(Head):
    """Logits are the negative distances to the nearest clip of each class; nothing is trained."""

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See `Head.forward`. Without support all logits are equal."""
        if not support.shape[1]:
            return queries.new_zeros(*queries.shape[:2], labels.shape[2])
        distances = torch.cdist(queries, support).unsqueeze(3)  # (B, Q, S, 1)
        return -distances.masked_fill(labels.unsqueeze(1) == 0, torch.inf).amin(2)


class PooledEmbedding(nn.Module):
    """Vectors (B, D) -> embeddings (B, E) of unit length, with a classifier of the training classes.

    Args:
        inputs: D.
        classes: of the training clips.
        settings: the layers' widths, the dropout and the factor on cosines.
    """

    def __init__(self, inputs: int, classes: int, settings: Settings) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(settings.dropout),
            nn.Linear(inputs, settings.hidden),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, settings.embedding),
        )
        self.weight = nn.Parameter(0.1 * torch.randn(classes, settings.embedding))
        self.scale = settings.scale

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, E)"""
        embedded: Tensor = self.layers(vectors)
        return F.normalize(embedded, dim=1)

    def logits(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, classes)"""
        logits: Tensor = self.scale * self(vectors) @ F.normalize(self.weight, dim=1).T
        return logits


@dataclass(frozen=True)
class Split:
    """Clips of the training classes and of those held out, by their names.

    Args:
        name: of its runs.
        way: number of held-out classes.
    """

    name: str
    way: int
    train: tuple[Clip, ...]
    test: tuple[Clip, ...]


def _measured(clips: Clips, way: int, number: int, settings: Settings) -> dict[str, Tensor]:
    """Accuracy of every classifier in each episode of a split, after 1 and 5 shots, (episodes, 2) by its name."""
    names = sorted({clip.class_name for clip in clips.rows})
    held = {names[position] for position in class_splits(len(names), way, settings.seed)[number]}
    name = f"{way}way{number}"
    rows = [tuple(clip for clip in clips.rows if (clip.class_name in held) is out) for out in (False, True)]
    digest = fingerprint(_VERSION, settings, data_fingerprint(), sorted(held), sorted(HEADS))
    path = Path("results", f"{name}.json")
    if path.exists() and (stored := json.loads(path.read_text()))["fingerprint"] == digest:
        return {key: torch.tensor(values) for key, values in stored["accuracies"].items()}
    found = measure(clips, Split(name, way, *rows), settings)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"fingerprint": digest, "accuracies": {key: values.tolist() for key, values in found.items()}})
    return found


def measure(clips: Clips, split: Split, settings: Settings) -> dict[str, Tensor]:
    """See `_measured`."""
    classes, numbers = _class_numbers(split.test), torch.tensor([file_number(clip) for clip in split.test])
    sampler = BlockEpisodes(classes, number_blocks(numbers, classes, _BLOCKS), max(_SHOTS) + 1)
    episodes = sampler.draw(settings.episodes, Generator().manual_seed(settings.seed))

    def score(head: Head, embedded: Tensor) -> Tensor:
        by_round = accuracies(predict(head.eval(), embedded, episodes, split.way), episodes)
        return by_round[:, list(_SHOTS)]

    found = {}
    whole = ClipWindows(clips, split.test, frames=settings.frames, stride=1)
    centred = CentredWindows(clips, split.test, frames=settings.frames, size=_SIZE)
    for name, data in (("", whole), (", around the hand", centred)):
        frames = torch.cat([data.even_windows(index, 0, 1) for index in data.batches(_BATCH)])
        for picture, pixels in (
            ("first frame", first_frame(frames)),
            ("frame differences", _in_parts(differences, frames)),
        ):
            found[f"nearest neighbour, {picture}{name}"] = score(NearestNeighbourHead(), pixels)
            found[f"nearest mean, {picture}{name}"] = score(PrototypeHead(), pixels)
    for encoder, model in _autoencoders(clips, split, settings).items():
        for head, values in _heads(clips, split, settings, encoder, model, score).items():
            found[f"{head}_{encoder}"] = values
    print(f"{split.name}: " + ", ".join(f"{name} {float(values[:, 1].mean()):.2f}" for name, values in found.items()))
    return found


def _in_parts(change: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    return torch.cat([change(part) for part in frames.split(_BATCH)])


def _class_numbers(rows: Sequence[Clip]) -> Tensor:
    """The class of each clip, (N,), from 0."""
    names = sorted({clip.class_name for clip in rows})
    return torch.tensor([names.index(clip.class_name) for clip in rows])


def _autoencoders(clips: Clips, split: Split, settings: Settings) -> dict[str, MAE]:
    """The autoencoder as initialised, and as pre-trained on the training classes."""
    models = {}
    for encoder in ("pretrained", "random"):
        torch.manual_seed(settings.seed)
        model = create_model(
            "small_2x8x8",
            num_frames=settings.frames,
            image_size=_SIZE,
            tubelet=4,
            patch=settings.patch,
            dim=settings.dim,
            depth=3,
            heads=4,
            decoder_dim=64,
            decoder_depth=1,
            decoder_heads=4,
            mean=(0.1,) * 3,
            std=(0.2,) * 3,
        )
        assert isinstance(model, MAE)
        models[encoder] = model.eval()
    data = CentredWindows(clips, split.train, frames=settings.frames, size=_SIZE)
    masking, model = Masking("random", settings.ratio, None), models["pretrained"]
    sampler = BatchSampler(data, model.config, masking, 16, seed=settings.seed, buffer=len(data))
    optimiser = _optimiser(settings.pretrain_steps, batch=16, lr=3e-3)
    train(_run(split, settings, "autoencoder"), model, optimiser, reconstruction_task(model, sampler))
    return models


def _heads(
    clips: Clips, split: Split, settings: Settings, encoder: str, model: MAE, score: Callable[[Head, Tensor], Tensor]
) -> dict[str, Tensor]:
    """The scores of all heads on an encoder, and of an encoder's features without training."""
    seen, classes, unseen = _vectors(clips, split, settings, model)
    torch.manual_seed(settings.seed)
    network = PooledEmbedding(seen.shape[1], int(classes.max()) + 1, settings)
    steps = _optimiser(settings.embedding_steps, batch=64, lr=2e-3, weight_decay=0.2)
    train(_run(split, settings, f"embedding_{encoder}"), network, steps, _class_task(network, seen, classes))
    with torch.no_grad():
        views = torch.stack([network.train()(seen) for _ in range(settings.views)], 1)
        embedded = network.eval()(unseen)
    inputs = {"embedding": embedded, "features": F.normalize(unseen, dim=1)}
    stage = replace(params.load().stage3, way=split.way, embedding=settings.embedding, seed=settings.seed)
    found: dict[str, Tensor] = {}
    for name, kind in HEADS.items():
        # Others work on frame-wise embeddings, which vectors pooled over time are not, or on names, of which there are few.
        if kind.inputs not in inputs or name in NAMED_HEADS or (kind.trained and encoder == "random"):
            continue
        head = build_head(name, stage)
        if kind.trained:
            sampler = EpisodeSampler(classes, split.way, max(_SHOTS) + 1)
            optimiser = _optimiser(settings.head_steps, batch=8, lr=2e-3)
            task = _episode_task(head, sampler, views, stage, optimiser.batch)
            train(_run(split, settings, f"{name}_{encoder}"), head, optimiser, task)
        found[name] = score(head, inputs[kind.inputs])
        if name == "linear":
            found["linear_embedding"] = score(head, inputs["embedding"])
    return found


def _vectors(clips: Clips, split: Split, settings: Settings, model: MAE) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation over time of every place's tokens, each value standardised by the training clips.

    Returns:
        Of the training clips, (N, D), a turned clip being one of a class of its own; their classes (N,); of the test clips,
        (M, D).
    """
    classes = _class_numbers(split.train)
    count = int(classes.max()) + 1
    data = CentredWindows(clips, split.train, frames=settings.frames, size=_SIZE)
    seen = torch.cat([_pool(model, data, turns) for turns in range(settings.turns)])
    unseen = _pool(model, CentredWindows(clips, split.test, frames=settings.frames, size=_SIZE))
    mean, scale = seen.mean(0), seen.std(0) + 0.05 * seen.std()
    numbers = torch.cat([classes + count * turns for turns in range(settings.turns)])
    return (seen - mean) / scale, numbers, (unseen - mean) / scale


@torch.no_grad()
def _pool(model: MAE, data: ClipWindows, turns: int = 0) -> Tensor:
    """Mean and deviation over time of the tokens of each clip's middle window after quarter turns, (N, 2 * places * D)."""
    found = []
    for index in data.batches(_BATCH):
        frames = data.even_windows(index, 0, 1).rot90(turns, (2, 3))
        tokens = model.encode(preprocess(frames, model.config)).unflatten(1, (model.config.grid.time_patches, -1))
        found.append(torch.stack([tokens.mean(1), tokens.std(1)], 1).flatten(1))
    return torch.cat(found)


def _class_task(network: PooledEmbedding, vectors: Tensor, classes: Tensor) -> Task[tuple[Tensor, Tensor]]:
    """Training the embedding by classifying random clips."""

    def draw(step: Draw) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(vectors), (64,), generator=step.generator)
        return vectors[chosen], classes[chosen]

    def compute(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        logits = network.logits(batch[0])
        return {
            "loss": F.cross_entropy(logits, batch[1]),
            "accuracy": (logits.argmax(1) == batch[1]).float().mean(),
        }

    return Task(draw, compute)


def _episode_task(
    head: Head, sampler: EpisodeSampler, views: Tensor, stage: Stage3, size: int
) -> Task[tuple[Tensor, Tensor]]:
    """Training a head on episodes of random views (N, views, E)."""

    def draw(step: Draw) -> tuple[Tensor, Tensor]:
        episodes = sampler.draw(size, step.generator)
        view = torch.randint(views.shape[1], episodes.clips.shape, generator=step.generator)
        return views[episodes.clips, view], episodes.labels

    def compute(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        shown, labels = batch
        logits = head.rounds(shown, F.one_hot(labels, stage.way).to(shown.dtype))
        return {"loss": F.cross_entropy(logits.flatten(0, 2), labels.flatten())}

    return Task(draw, compute)


def _optimiser(steps: int, *, batch: int, lr: float, weight_decay: float = 0.05) -> Optimiser:
    return Optimiser(
        steps=steps,
        warmup=min(20, steps - 1),
        batch=batch,
        lr=lr,
        weight_decay=weight_decay,
        betas=(0.9, 0.95),
        clip_norm=1.0,
    )


def _run(split: Split, settings: Settings, name: str) -> Run:
    held = sorted({clip.class_name for clip in split.test})
    digest = fingerprint(_VERSION, asdict(settings), data_fingerprint(), held)
    return Run(f"{split.name}/{name}", digest, settings.seed, "never")


def print_table(splits: Sequence[Mapping[str, Tensor]]) -> None:
    """Print accuracies with intervals, differences from the better control in the same episodes, and whether twice it is met."""
    joined = {name: torch.cat([split[name] for split in splits]) for name in splits[0]}
    means = {name: float(values[:, 1].mean()) for name, values in joined.items()}
    controls = [name for name in joined if name.startswith("nearest ") and "around" not in name]
    control = max(controls, key=means.__getitem__)
    rows = []
    for name, values in joined.items():
        one, five, gain = (
            mean_ci95(values[:, 0]),
            mean_ci95(values[:, 1]),
            mean_ci95(values[:, 1] - joined[control][:, 1]),
        )
        by_split = " ".join(f"{float(split[name][:, 1].mean()):.2f}" for split in splits)
        difference = "" if name == control else f"{100 * gain[0]:+.1f} ± {100 * gain[1]:.1f}"
        rows.append([name, f"{one[0]:.1%} ± {one[1]:.1%}", f"{five[0]:.1%} ± {five[1]:.1%}", difference, by_split])
    print(markdown_table(["classifier", "1-shot", "5-shot", "5-shot less the control", "5-shot by split"], rows))
    best = max((name for name in joined if not name.startswith("nearest ")), key=means.__getitem__)
    ratio = means[best] / means[control]
    print(f"\nbest: {best}, {ratio:.2f}x {control}; target >= 2x: {'met' if ratio >= 2 else 'missed'}")


if __name__ == "__main__":
    main()
