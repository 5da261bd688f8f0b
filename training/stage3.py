"""stage 3: the masked autoencoder's encoder with a memory-augmented network on class episodes.

The ablation trains three learners on the same episodes: memory on the pre-trained encoder, memory on an encoder that
was never trained, and an LSTM without memory on the pre-trained encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.errors import WorkError
from common.files import write_json
from training import params, pretrain
from training.clips import Clip, Clips
from training.data.in_memory import Resident
from training.engine.loop import CHECKPOINTS, METRICS, Run, data_fingerprint, fingerprint, pick_device, train
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.features import extract
from training.fewshot.learner import FewShotLearner
from training.models import MAE, load_pretrained
from training.params import Stage3, TrainingParams


@dataclass(frozen=True)
class Method:
    """A line of the ablation."""

    name: str
    pretrained: bool
    memory: bool
    trained: bool = True


METHODS = (
    Method("mann_pretrained", pretrained=True, memory=True),
    Method("mann_scratch", pretrained=False, memory=True),
    Method("lstm_pretrained", pretrained=True, memory=False),
    Method("untrained", pretrained=False, memory=True, trained=False),
)


def main() -> None:
    """Read the shards and checkpoints/pretrain/, write checkpoints/stage3/ and metrics/stage3.json."""
    settings = params.load()
    clips = Clips()
    rows = clips.select(split="train")
    classes = class_numbers(rows)
    results: dict[str, dict[str, float]] = {}
    for pretrained in (True, False):
        features = features_of(clips, rows, settings, pretrained=pretrained, windows=settings.stage3.windows)
        for method in METHODS:
            if method.trained and method.pretrained is pretrained:
                results[method.name] = _train(method, features, classes, settings)
    write_json(METRICS / "stage3.json", results)
    for name, values in results.items():
        print(f"stage3: {name}: accuracy {values['accuracy_last']:.1%} at the last instance of training episodes")


def class_numbers(rows: Sequence[Clip]) -> Tensor:
    """Class of each clip, `(N,)`."""
    return torch.tensor([clip.class_id for clip in rows])


def encoder(settings: TrainingParams, *, pretrained: bool) -> MAE:
    """The autoencoder as pre-training left it, or as it began."""
    model = pretrain.build(settings.pretrain)
    if pretrained:
        load_pretrained(model, CHECKPOINTS / "pretrain" / "model.pt")
    return model.to(pick_device())


def features_of(
    clips: Clips, rows: Sequence[Clip], settings: TrainingParams, *, pretrained: bool, windows: int
) -> Tensor:
    """Features of clips, `(N, windows, times, F)`."""
    model = encoder(settings, pretrained=pretrained)
    frames = pretrain.frames_of(model)
    data = Resident(clips, rows, frames=frames, stride=settings.pretrain.stride, device=pick_device())
    return extract(model, data, windows)


def learner(method: Method, features: Tensor, settings: Stage3, classes: int) -> FewShotLearner:
    """A fresh learner for `features` `(N, windows, times, F)`, the same for the same seed."""
    torch.manual_seed(settings.seed)
    memory = settings.memory if method.memory else None
    return FewShotLearner(features.shape[-1], features.shape[-2], settings.way, settings.embedding, memory, classes)


def checkpoint_of(method: Method) -> str:
    """Name of the method's run."""
    return f"stage3/{method.name}"


def _train(method: Method, features: Tensor, classes: Tensor, settings: TrainingParams) -> dict[str, float]:
    stage = settings.stage3
    try:
        sampler = EpisodeSampler(classes, stage.way, stage.instances, stage.seed)
    except ValueError as error:
        raise WorkError(f"stage3: {error}; lower stage3.way or stage3.instances") from None
    dense = torch.searchsorted(classes.unique(), classes)
    model = learner(method, features, stage, int(dense.max()) + 1).to(pick_device())
    last: list[float] = []

    def loss_of(generator: Generator) -> Tensor:
        sampler.use(generator)
        episodes = sampler.rounds(stage.optimiser.batch)
        view = torch.randint(features.shape[1], episodes.rows.shape, generator=generator)
        seen = features[episodes.rows, view].to(pick_device())
        slots = episodes.slots.to(pick_device())
        logits, embedded = model(seen, slots)
        last.append(float((logits[:, -1].argmax(-1) == slots[:, -1]).float().mean()))
        loss = F.cross_entropy(logits.flatten(0, 2), slots.flatten())
        if stage.class_loss:
            known = dense[episodes.rows].flatten().to(loss.device)
            loss = loss + stage.class_loss * model.class_loss(embedded.flatten(0, 2), known)
        return loss

    run = Run(checkpoint_of(method), fingerprint(settings.pretrain, stage, data_fingerprint(), method), stage.seed)
    losses = train(run, model, stage.optimiser, loss_of)
    recent = last[-50:] or [float("nan")]
    return {
        "steps": len(losses),
        "loss_first": losses[0],
        "loss_last": sum(losses[-50:]) / len(losses[-50:]),
        "accuracy_last": sum(recent) / len(recent),
    }
