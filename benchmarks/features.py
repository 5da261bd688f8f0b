"""Few-shot accuracy by kind of features: of the mean of an encoder's tokens, and of their change over time.

On a part of the sample, so that it takes minutes: one window of some clips of a class, fewer classes to train on than `stage3`
has. Run in a project that `pretrain` has finished in. Every row is measured on validation classes, to choose by, and on the
held-out classes.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import markdown_table
from training import params
from training.clips import Clip, Clips
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_ci95
from training.fewshot.adapter import Embedding, FlatEmbedding, FrameEmbedding
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.features import FeatureShape, extract
from training.fewshot.head import Head
from training.fewshot.heads import HEADS, build_head
from training.fewshot.methods import build_classifier, head_inputs
from training.fewshot.predict import accuracies, embed_clips, embed_views, predict
from training.params import NAMED_HEADS, EncoderName, FeatureKind, HeadName, Optimiser, Stage3

_EPISODES = 400
_VIEWS = 4


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=150, help="to train on")
    parser.add_argument("--validation", type=int, default=60, help="classes")
    parser.add_argument("--clips", type=int, default=8, help="of each class, 6 at least")
    parser.add_argument("--encoders", nargs="+", default=["pretrained", "random"])
    parser.add_argument("--kinds", nargs="+", default=["mean", "change"])
    heads = sorted(set(HEADS) - set(NAMED_HEADS))
    parser.add_argument("--heads", nargs="+", choices=heads, default=["nearest_mean", "prototypes", "mann"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    settings = params.load()
    clips = Clips(shards=settings.loader.shards)
    train, test = clips.select(split="train"), clips.select(split="test")
    classes = sorted({clip.class_id for clip in train})
    order = torch.randperm(len(classes), generator=Generator().manual_seed(0)).tolist()
    drawn = [classes[number] for number in order[: chosen.validation + chosen.classes]]
    validation, training = set(drawn[: chosen.validation]), set(drawn[chosen.validation :])
    rows = first_clips([*train, *test], validation | training | {clip.class_id for clip in test}, chosen.clips)
    encoders = load_autoencoders(settings, clips.size)
    data = load_windows(clips, rows, encoders["pretrained"].config, settings.pretrain, "pretrain", settings.loader)
    part = Part(
        torch.tensor([clip.class_id for clip in data.rows]), training, validation, chosen.clips, settings.stage3
    )
    table = []
    encoder: EncoderName
    kind: FeatureKind
    for encoder, kind in product(chosen.encoders, chosen.kinds):
        features = extract(encoders[encoder], data, windows=1, grid=settings.stage3.feature_grid, kind=kind)
        table += [[encoder, kind, *row] for row in part.measure(features, chosen.heads)]
    print(
        markdown_table(
            ["encoder", "features", "head", "validation: 1-shot", "5-shot", "held-out: 1-shot", "5-shot"], table
        )
    )


def first_clips(rows: Sequence[Clip], classes: set[int], number: int) -> list[Clip]:
    """The first `number` clips of each of the classes."""
    counts: dict[int, int] = {}
    found = []
    for clip in rows:
        if clip.class_id in classes and counts.get(clip.class_id, 0) < number:
            counts[clip.class_id] = counts.get(clip.class_id, 0) + 1
            found.append(clip)
    return found


class Part:
    """Clips of classes to train on, of classes to choose by, and of the held-out ones, which are all others.

    Args:
        classes: of every clip, (N,).
        training: classes to train on.
        validation: classes to choose by.
        rounds: of an episode.
        settings: of stage 3.
    """

    def __init__(
        self, classes: Tensor, training: set[int], validation: set[int], rounds: int, settings: Stage3
    ) -> None:
        self.settings = settings
        trained, chosen = (torch.isin(classes, torch.tensor(sorted(group))) for group in (training, validation))
        self.clips = trained.nonzero()[:, 0]
        self.numbers = torch.searchsorted(torch.tensor(sorted(training)), classes[self.clips])
        self.sampler = EpisodeSampler(classes, settings.way, rounds, clips=self.clips)
        self.episodes: list[Episodes] = []
        for group in (chosen, ~(trained | chosen)):
            sampler = EpisodeSampler(classes, settings.way, rounds, clips=group.nonzero()[:, 0])
            self.episodes.append(sampler.draw(_EPISODES, Generator().manual_seed(1)))

    def measure(self, features: Tensor, heads: Sequence[HeadName]) -> list[list[str]]:
        """A row for each head: its name; its accuracies after one and five labelled clips of a class, on both groups."""
        trained = (
            self._embedding(features) if any(HEADS[name].inputs != "features" for name in heads) else FlatEmbedding()
        )
        rows = []
        for name in heads:
            inputs = HEADS[name].inputs
            embedding = FlatEmbedding() if inputs == "features" else head_inputs(trained, inputs)
            head = build_head(name, self.settings)
            if HEADS[name].trained:
                self._train(head, embedding, features)
            embedded = embed_clips(embedding, features, torch.device("cpu"))
            rows.append([name, *self._accuracies(head.eval(), embedded)])
        return rows

    def _embedding(self, features: Tensor) -> FrameEmbedding:
        settings, generator = self.settings, Generator().manual_seed(0)
        shape = FeatureShape(features.shape[2], math.isqrt(features.shape[3]), features.shape[4])
        classes = int(self.numbers.max()) + 1
        model = build_classifier(shape, classes, settings).train()

        def loss() -> Tensor:
            chosen = torch.randint(len(self.clips), (settings.embedding_optimiser.batch,), generator=generator)
            return F.cross_entropy(model(features[self.clips[chosen]]), self.numbers[chosen])

        fit(model, settings.embedding_optimiser, loss)
        return model.embedding

    def _train(self, head: Head, embedding: Embedding, features: Tensor) -> None:
        settings, generator = self.settings, Generator().manual_seed(0)
        views = embed_views(embedding, features, torch.device("cpu"), views=_VIEWS, seed=0)

        def loss() -> Tensor:
            episodes = self.sampler.draw(settings.optimiser.batch, generator)
            view = torch.randint(_VIEWS, episodes.clips.shape, generator=generator)
            labels = F.one_hot(episodes.labels, settings.way).float()
            logits = head.rounds(views[episodes.clips, view], labels)
            return F.cross_entropy(logits.flatten(0, 2), episodes.labels.flatten())

        fit(head.train(), settings.optimiser, loss)

    def _accuracies(self, head: Head, embedded: Tensor) -> list[str]:
        found = []
        for episodes in self.episodes:
            hits = accuracies(predict(head, embedded, episodes, self.settings.way), episodes)
            for column in (hits[:, 1], hits[:, 5]):
                mean, ci95 = mean_ci95(column)
                found.append(f"{100 * mean:.1f} ± {100 * ci95:.1f}")
        return found


def fit(model: nn.Module, settings: Optimiser, loss: Callable[[], Tensor]) -> None:
    """Minimise `loss` by AdamW with warm-up and a cosine to zero."""
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(
        parameters, settings.lr, betas=(settings.betas[0], settings.betas[1]), weight_decay=settings.weight_decay
    )
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            warmup = min(1.0, (step + 1) / max(1, settings.warmup))
            group["lr"] = settings.lr * warmup * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimiser.step()


if __name__ == "__main__":
    main()
