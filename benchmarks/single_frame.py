"""Few-shot accuracy on the held-out classes from a single frame of each clip: what stills alone tell of the classes.

In the episodes of `evaluate`, by class means of the frames' pixels, and of an embedding of frames that a ResNet learns by
classifying the training classes. Run in a project that has the shards.
"""

import argparse
from collections.abc import Sequence

import timm
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.features import fit
from benchmarks.measure import describe_machine, markdown_table
from training import params
from training.clips import Clip, Clips
from training.engine.statistics import mean_ci95
from training.evaluate import class_ids, count_instances
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.predict import accuracies, predict
from training.fewshot.protonet import PrototypeHead
from training.params import Optimiser

_MODEL = "resnet10t"  # timm's, 5 million parameters
_BATCH = 256
_SCALE = 16.0  # factor on cosines in classifying the training classes, as `stage3.class_scale`


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4, help="of each training clip, at random valid ticks")
    parser.add_argument("--steps", type=int, default=600, help="of the embedding, of 64 frames each")
    chosen = parser.parse_args()
    settings = params.load()
    clips = Clips(shards=settings.loader.shards)
    train, test = clips.select(split="train"), clips.select(split="test")
    frames, seen = draw_frames(clips, train, chosen.frames), draw_frames(clips, test, 1)
    classes = torch.unique(class_ids(train), return_inverse=True)[1]
    optimiser = Optimiser(
        steps=chosen.steps, warmup=30, batch=64, lr=2e-3, weight_decay=0.05, betas=(0.9, 0.95), clip_norm=1.0
    )
    embedding, accuracy = train_embedding(frames, classes.repeat_interleave(chosen.frames), optimiser)
    stage, labels = settings.stage3, class_ids(test)
    rounds = count_instances(labels, stage.way, stage.instances)
    episodes = EpisodeSampler(labels, stage.way, rounds).draw(
        settings.evaluate.episodes, Generator().manual_seed(settings.evaluate.seed)
    )
    table = []
    for name, embedded in {
        "pixels": F.normalize(seen.flatten(1).float() - 127.5, dim=1),
        f"embedding ({_MODEL})": embed(embedding, seen),
    }.items():
        hits = accuracies(predict(PrototypeHead(), embedded, episodes, stage.way), episodes)
        measured = [mean_ci95(hits[:, number]) for number in (1, 5)]
        table.append([name, *(f"{100 * mean:.1f} ± {100 * ci95:.1f}" for mean, ci95 in measured)])
    print(
        f"\n{describe_machine()}, {len(episodes)} {stage.way}-way episodes, {chosen.steps} steps, "
        f"the last 50 right on {accuracy:.0%} of the training frames\n"
    )
    print(markdown_table(["class means of a single frame's", "1-shot, %", "5-shot, %"], table))


def draw_frames(clips: Clips, rows: Sequence[Clip], number: int) -> Tensor:
    """Frames of each clip at random valid ticks, the same in every run, (clips * number, S, S, 3) uint8."""
    generator = Generator().manual_seed(0)
    found = []
    for clip in tqdm(rows, "read", leave=False, disable=None):
        ticks = torch.randint(clip.valid_frames, (number,), generator=generator)
        found.append(clips[clip.clip_id][ticks])
    return torch.cat(found)


def train_embedding(frames: Tensor, classes: Tensor, optimiser: Optimiser) -> tuple[nn.Module, float]:
    """An embedding of frames (N, S, S, 3) and the share of training frames classified right in the last 50 steps."""
    torch.manual_seed(0)
    model = timm.create_model(_MODEL, num_classes=64)
    weight = nn.Parameter(0.1 * torch.randn(int(classes.max()) + 1, 64))
    generator, right = Generator().manual_seed(0), []
    progress = tqdm(total=optimiser.steps, desc="train", leave=False, disable=None)

    def loss() -> Tensor:
        chosen = torch.randint(len(frames), (optimiser.batch,), generator=generator)
        images = frames[chosen]
        images = images.flip(2) if torch.rand((), generator=generator) < 0.5 else images
        logits = _SCALE * F.normalize(model(_as_input(images)), dim=1) @ F.normalize(weight, dim=1).T
        right.append(float((logits.argmax(1) == classes[chosen]).float().mean()))
        progress.update()
        return F.cross_entropy(logits, classes[chosen])

    fit(nn.ParameterList([*model.parameters(), weight]), optimiser, loss)
    return model.eval(), sum(right[-50:]) / len(right[-50:])


@torch.no_grad()
def embed(model: nn.Module, frames: Tensor) -> Tensor:
    """Embeddings of unit length: (N, S, S, 3) uint8 -> (N, 64)"""
    return torch.cat([F.normalize(model(_as_input(part)), dim=1) for part in frames.split(_BATCH)])


def _as_input(frames: Tensor) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S), standardised."""
    return frames.permute(0, 3, 1, 2).float() / 57.5 - 2


if __name__ == "__main__":
    main()
