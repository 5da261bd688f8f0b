"""What class names add to few-shot recognition: by the kind of their vectors, and where names tell nothing.

Needs the dataset and a finished `make train-stage3`, whose embedding of the pre-trained encoder is used. Each row is measured on
the same episodes of held-out classes, all of one source. Of the drawn sample those of Kinetics are named by their movements, so
that names of other classes tell something of them; those of TinyVIRAT have TinyVIRAT's names, which they were not drawn
from. In the last row every class has the name of another one.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from benchmarks.measure import markdown_table
from training import params
from training.clips import Clip, Clips
from training.engine.runs import stage3_run
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_ci95
from training.evaluate import class_ids, count_instances
from training.fewshot.classes import split_classes, training_rows
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.features import extract
from training.fewshot.head import Head
from training.fewshot.methods import METHODS
from training.fewshot.predict import accuracies, embed_clips, predict
from training.fewshot.protonet import PrototypeHead
from training.fewshot.text import ClassNames, class_names
from training.fewshot.text_prototypes import TextPrototypeHead
from training.fewshot.trainer import load_method
from training.params import ClassText, Stage3, TrainingParams

_SHOTS = (1, 5)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", help="folder or hub name of a sentence encoder; else it is not measured")
    parser.add_argument("--episodes", type=int, default=1000)
    chosen = parser.parse_args()
    settings = params.load()
    clips = Clips(shards=settings.loader.shards)
    train, test = training_rows(clips, settings.stage3), clips.select(split="test")
    embedded = embed(settings, clips, [*train, *test])
    text = settings.stage3.text
    kinds = {
        "n-grams": replace(text, encoder=None),
        "n-grams, single words": replace(text, encoder=None, words=1),
        **({} if chosen.encoder is None else {f"encoder {chosen.encoder}": replace(text, encoder=chosen.encoder)}),
    }
    table = []
    for source in sorted({clip.source for clip in test}):
        part = Part([*train, *test], embedded, source, settings.stage3, chosen.episodes)
        table.append([source, "none", "", "", *part.row(PrototypeHead(), None)])
        for kind, vectors in kinds.items():
            table.append([source, kind, *part.measure(vectors)])
        table.append([source, "n-grams, of another class", *part.measure(kinds["n-grams"], shuffled=True)])
    measures = ("explained", "k", "no clip", "1-shot", "5-shot", "more at 1-shot", "at 5-shot")
    print(markdown_table(["held-out classes", "names", *measures], table))


def embed(settings: TrainingParams, clips: Clips, rows: Sequence[Clip]) -> Tensor:
    """Embeddings of clips by the embedding that stage 3 has trained on the pre-trained encoder's features, (N, E)."""
    stage, autoencoder = settings.stage3, load_autoencoders(settings, clips.size)["pretrained"]
    data = load_windows(clips, rows, autoencoder.config, settings.pretrain, "pretrain", settings.loader)
    if len(data) < len(rows):
        raise SystemExit("some clips cannot be read: see `python -m pipeline verify`")
    classes = len(split_classes(training_rows(clips, stage), stage)[0].classes)
    learner = load_method(
        METHODS["prototypes_pretrained"], autoencoder, classes, stage, partial(stage3_run, settings)
    ).learner
    features = extract(autoencoder, data, windows=stage.windows, grid=stage.feature_grid, kind=stage.features)
    return embed_clips(learner.embedding, features, data.device).cpu()


class Part:
    """The training classes, and held-out classes of one source.

    Args:
        rows: all clips, those to train on first.
        embedded: their embeddings, (N, E).
        source: of the held-out classes.
        settings: of stage 3.
        episodes: to measure.
    """

    def __init__(self, rows: Sequence[Clip], embedded: Tensor, source: str, settings: Stage3, episodes: int) -> None:
        self.rows, self.embedded, self.settings = rows, embedded, settings
        self.training = split_classes([clip for clip in rows if clip.split != "test"], settings)[0]
        ids = class_ids(rows)
        held_out = torch.tensor(
            [place for place, clip in enumerate(rows) if (clip.split, clip.source) == ("test", source)]
        )
        instances = count_instances(ids[held_out], settings.way, settings.instances)
        if instances <= _SHOTS[-1]:
            raise SystemExit(f"{source}: its held-out classes have {instances} clips, {_SHOTS[-1] + 1} are needed")
        sampler = EpisodeSampler(ids, settings.way, instances, clips=held_out)
        self.episodes: Episodes = sampler.draw(episodes, Generator().manual_seed(0))
        self.untold = self._hits(PrototypeHead(), None)

    def measure(self, text: ClassText, *, shuffled: bool = False) -> list[str]:
        """What names of other classes explain, how many clips a name counts as, and `row`."""
        names = class_names(self.rows, text)
        if shuffled:
            order = torch.randperm(len(names.vectors), generator=Generator().manual_seed(0))
            names = replace(names, vectors=names.vectors[order])
        training = self.training
        vectors = names.of_classes(training.clips, training.numbers)
        head = TextPrototypeHead(names.vectors.shape[1], self.embedded.shape[1])
        explained = head.fit(vectors, self.embedded[training.clips], training.numbers)
        return [f"{explained:.0%}", f"{float(head.clips):.2f}", *self.row(head, names)]

    def row(self, head: Head, names: ClassNames | None) -> list[str]:
        """Accuracies without a clip, with one and with five, and what they are more than without names."""
        hits = self._hits(head, names)
        columns = [hits[:, shots] for shots in (0, *_SHOTS)]
        more = [] if names is None else [(hits - self.untold)[:, shots] for shots in _SHOTS]
        shown = [mean_ci95(column) for column in (*columns, *more)]
        return [f"{100 * mean:.1f} ± {100 * ci95:.1f}" for mean, ci95 in shown] + [""] * (5 - len(shown))

    def _hits(self, head: Head, names: ClassNames | None) -> Tensor:
        return accuracies(predict(head, self.embedded, self.episodes, self.settings.way, names), self.episodes)


if __name__ == "__main__":
    main()
