"""The networks of the gestures benchmark: an autoencoder of the training clips, and stage 3's methods on its features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from benchmarks.centred import CentredWindows, TurnedWindows
from benchmarks.frame_tokens import standardised, token_views
from training import params
from training.clips import Clip, Clips
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import Run, data_fingerprint, fingerprint
from training.engine.loop import train
from training.fewshot.adapter import ClipEmbedding, FlatEmbedding, FrameEmbedding
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import FeatureShape
from training.fewshot.head import Head
from training.fewshot.heads import HEADS, build_head
from training.fewshot.methods import build_classifier, head_inputs
from training.fewshot.predict import embed_clips, embed_views
from training.fewshot.tasks import class_task, episode_task
from training.models import MAE, create_model
from training.models.masking import Masking
from training.params import NAMED_HEADS, Adapter, EncoderName, Optimiser, Stage3

VERSION = 3  # of the code that shapes weights
SHOTS = (1, 5)
SIZE = 32  # pixels around the hand
BATCH = 64


@dataclass(frozen=True)
class Settings:
    """What shapes a run. Values but `head_steps` were chosen on training classes: half of a split's against its others.

    Args:
        pretrain_steps: of the autoencoder.
        embedding_steps: of the embedding.
        head_steps: of every head that is trained.
        turns: quarter turns of the training clips; turned clips are classes of their own.
        views: of each clip, itself and jittered ones. The embedding and heads learn from each, heads with dropout; embeddings of
            test clips are means over them.
        width: channels of the embedding's convolutions.
    """

    pretrain_steps: int = 300
    embedding_steps: int = 600
    head_steps: int = 1000
    episodes: int = 400
    turns: int = 4
    views: int = 4
    frames: int = 20
    ratio: float = 0.75
    patch: int = 8
    dim: int = 96
    width: int = 128
    hidden: int = 256
    embedding: int = 64
    dropout: float = 0.3
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


def autoencoders(clips: Clips, split: Split, settings: Settings) -> dict[EncoderName, MAE]:
    """The autoencoder as pre-trained on the training classes, and as initialised."""
    models: dict[EncoderName, MAE] = {"pretrained": _fresh(settings), "random": _fresh(settings)}
    model = models["pretrained"]
    data = CentredWindows(clips, split.train, frames=settings.frames, size=SIZE)
    sampler = BatchSampler(
        data, model.config, Masking("random", settings.ratio, None), 16, seed=settings.seed, buffer=len(data)
    )
    optimiser = _optimiser(settings.pretrain_steps, batch=16, lr=3e-3)
    train(_run(split, settings, "autoencoder"), model, optimiser, reconstruction_task(model, sampler))
    return {encoder: model.eval() for encoder, model in models.items()}


def method_scores(
    clips: Clips, split: Split, settings: Settings, score: Callable[[Head, Tensor], Tensor]
) -> dict[str, Tensor]:
    """The score of every head on the frozen encoders, and of ridge regression on their embeddings, by the method's name.

    Heads on class names are left out, which need more classes, and on the encoder as initialised heads that are trained.

    Args:
        clips: where the clips are read from.
        split: of the classes.
        settings: of the run.
        score: of a head and what it works on, of all test clips.
    """
    stage = _stage3(split, settings)
    seen = TurnedWindows(clips, split.train, frames=settings.frames, size=SIZE, turns=settings.turns)
    unseen = CentredWindows(clips, split.test, frames=settings.frames, size=SIZE)
    classes = torch.tensor([clip.class_id for clip in seen.rows]).unique(return_inverse=True)[1]
    sampler = EpisodeSampler(classes, stage.way, stage.instances)
    found = {}
    for encoder, model in autoencoders(clips, split, settings).items():
        shown, tested = standardised(*(token_views(model, data, stage.views) for data in (seen, unseen)))
        frames = _embedding(_run(split, settings, f"embedding_{encoder}"), shown, classes, stage)
        for name, kind in HEADS.items():
            if name in NAMED_HEADS or (kind.trained and encoder == "random"):
                continue
            inputs = FlatEmbedding() if kind.inputs == "features" else head_inputs(frames, kind.inputs)
            head = build_head(name, stage)
            if kind.trained:
                views = embed_views(inputs, shown, seen.device, views=stage.views, seed=stage.seed)
                task = episode_task(head, sampler, views, stage)
                train(_run(split, settings, f"{name}_{encoder}"), head, stage.optimiser, task)
            found[f"{name}_{encoder}"] = score(head, embed_clips(inputs, tested, seen.device))
        ridge, embedded = build_head("linear", stage), embed_clips(ClipEmbedding(frames), tested, seen.device)
        found[f"linear_embedding_{encoder}"] = score(ridge, embedded)
    return found


def _embedding(run: Run, features: Tensor, classes: Tensor, stage: Stage3) -> FrameEmbedding:
    """A frame-wise embedding of features (N, views, times, 1, F), trained by classifying their clips."""
    shape = FeatureShape(features.shape[2], 1, features.shape[4])
    model = build_classifier(shape, int(classes.max()) + 1, stage)
    task = class_task(model, features, torch.arange(len(classes)), classes, stage)
    train(run, model, stage.embedding_optimiser, task)
    return model.embedding


def _fresh(settings: Settings) -> MAE:
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
    return model


def _stage3(split: Split, settings: Settings) -> Stage3:
    defaults, instances = params.load().stage3, max(SHOTS) + 1
    return replace(
        defaults,
        way=split.way,
        instances=instances,
        end_to_end=replace(defaults.end_to_end, instances=instances),  # not used, but checked
        short_episodes=replace(defaults.short_episodes, share=0.0),
        adapter=Adapter(settings.width, settings.hidden, settings.dropout),
        embedding=settings.embedding,
        class_scale=settings.scale,
        views=settings.views,
        embedding_optimiser=_optimiser(settings.embedding_steps, batch=64, lr=2e-3, weight_decay=0.2),
        optimiser=_optimiser(settings.head_steps, batch=8, lr=2e-3),
        seed=settings.seed,
    )


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
