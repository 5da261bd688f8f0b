"""The leak of Shifted Patch Tokenization in a masked autoencoder: the same model trained with and without zeroing masked patches.

Needs the dataset (`make dataset`). Both models are trained on the training classes. On the held-out classes, always with masked
patches at zero, it prints their loss, and the 5-way 5-shot accuracy of the nearest class mean of their encoded clips.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Generator

from benchmarks.measure import describe_machine, markdown_table
from training.clips import Clip, Clips
from training.data.windows import ClipWindows
from training.engine.batches import BatchSampler, reconstruction_task
from training.engine.checkpoints import Run
from training.engine.loop import train
from training.engine.statistics import mean_ci95, mean_of_last
from training.fewshot.adapter import FlatEmbedding
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.nearest import NearestMeanHead
from training.fewshot.predict import accuracies, predict
from training.models import MAE, create_model
from training.models.masking import Masking
from training.models.preprocess import preprocess
from training.params import Optimiser

_CONFIG = {"num_frames": 8, "patch": 8, "depth": 3, "heads": 4}
_MASKING = Masking("random", 0.8)
_STRIDE, _BATCH, _WAY, _SHOTS = 2, 16, 5, 5


def main() -> None:
    """Train both models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=400)
    arguments = parser.parse_args()
    clips = Clips()
    seen, unseen = (_load(clips, clips.select(split=split)) for split in ("train", "test"))
    rows = []
    for zero_masked in (True, False):
        model = _autoencoder(zero_masked=zero_masked)
        sampler = BatchSampler(seen, model.config, _MASKING, _BATCH, seed=0, buffer=len(seen))
        task = reconstruction_task(model, sampler)
        history = train(Run("leak", "", 0), model, _optimiser(arguments.steps), task, save=False)
        without_leak = _autoencoder(zero_masked=True)
        without_leak.load_state_dict(model.state_dict())
        accuracy, ci95 = _accuracy(without_leak, unseen, arguments.episodes)
        rows.append(
            [
                "zeroed before the shift" if zero_masked else "not zeroed",
                f"{mean_of_last(history['loss'], 20):.4f}",
                f"{_loss(without_leak, unseen):.4f}",
                f"{accuracy:.1%} ± {ci95:.1%}",
            ]
        )
    print(f"{describe_machine()}, {arguments.steps} steps of {_BATCH} clips, {arguments.episodes} episodes\n")
    print(
        markdown_table(["masked patches", "training loss", "loss without the leak", "5-way 5-shot, nearest mean"], rows)
    )


def _load(clips: Clips, rows: Sequence[Clip]) -> ClipWindows:
    return ClipWindows(clips, rows, frames=_CONFIG["num_frames"], stride=_STRIDE)


def _autoencoder(*, zero_masked: bool) -> MAE:
    torch.manual_seed(0)
    model = create_model("paper_small", **_CONFIG, spt_zero_masked=zero_masked)
    assert isinstance(model, MAE)
    return model.eval()


def _optimiser(steps: int) -> Optimiser:
    return Optimiser(
        steps=steps, warmup=steps // 10, batch=_BATCH, lr=1e-3, weight_decay=0.005, betas=(0.9, 0.95), clip_norm=1.0
    )


@torch.no_grad()
def _loss(model: MAE, data: ClipWindows) -> float:
    """Mean reconstruction loss of the middle window of every clip."""
    generator, total = Generator().manual_seed(0), 0.0
    for index in data.batches(32):
        video = preprocess(data.even_windows(index, 0, 1), model.config)
        mask = _MASKING(len(index), model.config.grid, generator)
        total += float(model(video, mask).loss) * len(index)
    return total / len(data)


@torch.no_grad()
def _accuracy(model: MAE, data: ClipWindows, episodes: int) -> tuple[float, float]:
    """Few-shot accuracy of the mean token of each clip, with half of its 95% interval."""
    batches = (preprocess(data.even_windows(index, 0, 1), model.config) for index in data.batches(32))
    features = torch.cat([model.encode(video).mean(1, keepdim=True) for video in batches])
    classes = torch.tensor([clip.class_id for clip in data.rows])
    drawn = EpisodeSampler(classes, _WAY, _SHOTS + 1).draw(episodes, Generator().manual_seed(0))
    predicted = predict(NearestMeanHead(), FlatEmbedding()(features), drawn, _WAY)
    return mean_ci95(accuracies(predicted, drawn)[:, _SHOTS])


if __name__ == "__main__":
    main()
