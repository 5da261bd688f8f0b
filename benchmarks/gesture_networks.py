"""The networks of the gestures benchmark, and their training: autoencoder, embedding of its tokens, and heads."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.centred import CentredWindows
from training import params
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import Run, data_fingerprint, fingerprint
from training.engine.loop import Draw, Task, train
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.head import Head
from training.fewshot.heads import HEADS, build_head
from training.models import MAE, create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import NAMED_HEADS, Optimiser, Stage3

VERSION = 1  # of the code that shapes weights
SHOTS = (1, 5)
SIZE = 32  # pixels around the hand
BATCH = 64


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


def class_numbers(rows: Sequence[Clip]) -> Tensor:
    """The class of each clip, (N,), from 0."""
    names = sorted({clip.class_name for clip in rows})
    return torch.tensor([names.index(clip.class_name) for clip in rows])


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


def autoencoders(clips: Clips, split: Split, settings: Settings) -> dict[str, MAE]:
    """The autoencoder as initialised, and as pre-trained on the training classes."""
    models = {}
    for encoder in ("pretrained", "random"):
        torch.manual_seed(settings.seed)
        model = create_model(
            "small_2x8x8",
            num_frames=settings.frames,
            image_size=SIZE,
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
    data = CentredWindows(clips, split.train, frames=settings.frames, size=SIZE)
    masking, model = Masking("random", settings.ratio, None), models["pretrained"]
    sampler = BatchSampler(data, model.config, masking, 16, seed=settings.seed, buffer=len(data))
    optimiser = _optimiser(settings.pretrain_steps, batch=16, lr=3e-3)
    train(_run(split, settings, "autoencoder"), model, optimiser, reconstruction_task(model, sampler))
    return models


def head_scores(
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
            sampler = EpisodeSampler(classes, split.way, max(SHOTS) + 1)
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
    classes = class_numbers(split.train)
    count = int(classes.max()) + 1
    data = CentredWindows(clips, split.train, frames=settings.frames, size=SIZE)
    seen = torch.cat([_pool(model, data, turns) for turns in range(settings.turns)])
    unseen = _pool(model, CentredWindows(clips, split.test, frames=settings.frames, size=SIZE))
    mean, scale = seen.mean(0), seen.std(0) + 0.05 * seen.std()
    numbers = torch.cat([classes + count * turns for turns in range(settings.turns)])
    return (seen - mean) / scale, numbers, (unseen - mean) / scale


@torch.no_grad()
def _pool(model: MAE, data: ClipWindows, turns: int = 0) -> Tensor:
    """Mean and deviation over time of the tokens of each clip's middle window after quarter turns, (N, 2 * places * D)."""
    found = []
    for index in data.batches(BATCH):
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
    digest = fingerprint(VERSION, asdict(settings), data_fingerprint(), held)
    return Run(f"{split.name}/{name}", digest, settings.seed, "never")
