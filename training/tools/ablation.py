"""ablation: masked pre-training and memory-augmented learning, each alone and together, by share of the training labels.

Every arm is trained for every seed and share, and measured on the same episodes of the held-out classes. An interrupted
ablation goes on where it stopped.
"""

import io
import statistics
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Generator, Tensor

from common.files import write_bytes
from common.paths import LOGS, PLOTS
from training import params
from training.clips import Clips
from training.data.windows import ClipWindows
from training.engine.checkpoints import fingerprint
from training.engine.metrics import write_metrics
from training.engine.runs import ablation_run, ablation_settings
from training.engine.setup import load_autoencoder, load_windows
from training.evaluate import FewShot, class_ids, count_instances, embed_test, summarise
from training.fewshot.classes import split_classes, training_rows
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.methods import METHODS
from training.fewshot.predict import accuracies, predict
from training.fewshot.trainer import FrozenFeatures, Trainer
from training.models import MAE
from training.params import EncoderName, TrainingParams
from training.stage3 import fresh_autoencoder

ARMS = {
    "linear_pretrained": "MAE only, linear probe",
    "nearest_mean_pretrained": "MAE only, nearest mean",
    "prototypes_pretrained": "MAE only, ProtoNet",
    "mann_scratch": "MANN only",
    "mann_pretrained": "MAE + MANN, frozen",
    "mann_finetuned": "MAE + MANN, fine-tuned",
}
_COMPARED = "mann_pretrained"  # that differences are from


def main() -> None:
    """Train and measure what is missing; write metrics/ablation.json and plots/ablation.tsv, and print a table."""
    settings = params.load()
    changes = settings.ablation
    bench = _Bench(settings)
    hits: dict[tuple[str, float], Tensor] = {}
    labels: dict[float, int] = {}
    for share in reversed(changes.label_shares):
        for seed in range(changes.seeds):
            labels[share] = bench.labels(seed, share)
            for arm in ARMS:
                found = bench.measure(arm, seed, share).unsqueeze(0)
                hits[arm, share] = torch.cat([hits[arm, share], found]) if seed else found
                print(
                    f"ablation: {ARMS[arm]}, {share:.0%} of the labels, seed {seed}: {float(found[0, :, -1].mean()):.1%}",
                    flush=True,
                )
    way = settings.stage3.way
    arms = {
        arm: {f"{share:g}": _result(hits[arm, share], labels[share], way) for share in changes.label_shares}
        for arm in ARMS
    }
    for arm, share in hits:
        if arm != _COMPARED:
            arms[arm][f"{share:g}"]["difference"] = _difference(hits[arm, share], hits[_COMPARED, share], way)
    write_bytes(PLOTS / "ablation.tsv", _tsv(arms).encode())
    shape = {"way": way, "instances": bench.instances, "episodes": changes.episodes, "seeds": changes.seeds}
    write_metrics("ablation", {"classes": bench.classes, **shape, "arms": arms})
    _show(arms)


class _Bench:
    """Clips, features and episodes, which all arms share, each loaded when it is first used."""

    def __init__(self, settings: TrainingParams) -> None:
        self._settings = settings
        self._clips = Clips(shards=settings.loader.shards)
        self._train, self._test = training_rows(self._clips, settings.stage3), self._clips.select(split="test")
        classes, stage = class_ids(self._test), settings.stage3
        self.classes = len(classes.unique())
        self.instances = count_instances(classes, stage.way, stage.instances)  # fails before any work
        for seed in range(settings.ablation.seeds):
            for share in settings.ablation.label_shares:
                split_classes(self._train, ablation_settings(settings, seed, share).stage3)
        self._trainer: tuple[tuple[int, float], Trainer] | None = None

    def labels(self, seed: int, share: float) -> int:
        """Labelled clips of a share."""
        return len(split_classes(self._train, ablation_settings(self._settings, seed, share).stage3)[0].clips)

    def measure(self, arm: str, seed: int, share: float) -> Tensor:
        """Accuracies of an arm in each round of each episode, (episodes, rounds), which are kept in logs/ablation/."""
        stage, evaluate = self._settings.stage3, self._settings.evaluate
        run = ablation_run(self._settings, seed, share, arm)
        digest = fingerprint(
            run.fingerprint, evaluate.seed, self._settings.ablation.episodes, stage.way, self.instances
        )
        path = LOGS / f"{run.name}.parquet"
        found = _read(path, digest)
        if found is None:
            method, chosen = METHODS[arm], ablation_settings(self._settings, seed, share).stage3
            trained = self._trained_by(seed, share).train(method)
            embedded = embed_test(method, trained, self._test_features, chosen)
            predicted = predict(trained.learner.head.eval(), embedded, self.episodes, stage.way)
            found = accuracies(predicted, self.episodes)
            _write(path, found, digest)
        return found

    def _trained_by(self, seed: int, share: float) -> Trainer:
        """The trainer of a seed and share; the last one is kept, whose parts the arms share."""
        if self._trainer is None or self._trainer[0] != (seed, share):
            changed = ablation_settings(self._settings, seed, share)
            trainer = Trainer(
                changed.stage3,
                self._train_features,
                partial(ablation_run, self._settings, seed, share),
                partial(fresh_autoencoder, changed, self._clips.size),
            )
            self._trainer = (seed, share), trainer
        return self._trainer[1]

    @cached_property
    def episodes(self) -> Episodes:
        """Of the held-out classes."""
        sampler = EpisodeSampler(class_ids(self._test_features.data.rows), self._settings.stage3.way, self.instances)
        generator = Generator().manual_seed(self._settings.evaluate.seed)
        return sampler.draw(self._settings.ablation.episodes, generator)

    @cached_property
    def _autoencoder(self) -> MAE:
        return load_autoencoder(self._settings, self._clips.size)

    @cached_property
    def _train_features(self) -> FrozenFeatures:
        return self._features(train=True)

    @cached_property
    def _test_features(self) -> FrozenFeatures:
        return self._features(train=False)

    def _features(self, *, train: bool) -> FrozenFeatures:
        settings = self._settings
        rows = self._train if train else self._test
        config, pretrain = self._autoencoder.config, settings.pretrain
        data: ClipWindows = load_windows(self._clips, rows, config, pretrain, "pretrain", settings.loader)
        windows, stage = settings.ablation.windows, settings.stage3
        encoders: dict[EncoderName, MAE] = {"pretrained": self._autoencoder}
        return FrozenFeatures(encoders, data, windows=windows, grid=stage.feature_grid, kind=stage.features)


def _result(hits: Tensor, labels: int, way: int) -> dict[str, object]:
    """Means over seeds with 95% intervals over episodes, and the deviation over seeds.

    Args:
        hits: accuracies in each round of each episode for each seed, (seeds, episodes, rounds).
        labels: labelled clips.
        way: classes in an episode.
    """
    summary = summarise(hits.mean(0), way)
    by_seed = [summarise(one, way)["few_shot"] for one in hits]
    few_shot = {}
    for shots, values in summary["few_shot"].items():
        means = [of_seed[shots]["mean"] for of_seed in by_seed]
        deviation = statistics.stdev(means) if len(means) > 1 else None
        few_shot[shots] = {**values, "deviation": deviation, "by_seed": means}
    return {
        "labels": labels,
        "few_shot": few_shot,
        "instance_accuracy": summary["instance_accuracy"],
        "instance_ci95": summary["instance_ci95"],
    }


def _difference(hits: Tensor, compared: Tensor, way: int) -> Mapping[str, FewShot]:
    """Paired differences by shots, from accuracies (seeds, episodes, rounds) of two arms in the same episodes."""
    return summarise((hits - compared).mean(0), way)["few_shot"]


def _read(path: Path, digest: str) -> Tensor | None:
    """The accuracies in `path`, (episodes, rounds), if they are those of this digest."""
    try:
        table = pq.read_table(path, use_threads=False)
    except (FileNotFoundError, pa.ArrowException, OSError):
        return None
    if (table.schema.metadata or {}).get(b"fingerprint") != digest.encode():
        return None
    return torch.stack([torch.tensor(column.to_pylist()) for column in table.columns], 1)


def _write(path: Path, accuracy: Tensor, digest: str) -> None:
    """Write a table with a row per episode and a column per instance, from 1."""
    columns = {str(number): pa.array(column.numpy()) for number, column in enumerate(accuracy.unbind(1), 1)}
    file = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({"fingerprint": digest}), file, compression="zstd")
    write_bytes(path, file.getvalue())


def _tsv(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per arm, share of labels and shots."""
    lines = ["arm\tlabel_share\tlabels\tshots\taccuracy\tci95\tdeviation"]
    for arm, shares in arms.items():
        for share, result in shares.items():
            for shots, value in result["few_shot"].items():
                deviation = "" if value["deviation"] is None else f"{value['deviation']:.4f}"
                accuracy = f"{value['mean']:.4f}\t{value['ci95']:.4f}"
                lines.append(f"{arm}\t{share}\t{result['labels']}\t{shots}\t{accuracy}\t{deviation}")
    return "\n".join(lines) + "\n"


def _show(arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the accuracies as a table."""
    for arm, shares in arms.items():
        for share, result in shares.items():
            cells = [
                f"{shots} {100 * value['mean']:5.1f} ± {100 * value['ci95']:.1f}"
                for shots, value in result["few_shot"].items()
            ]
            print(f"{ARMS[arm]:26} {float(share):5.0%} of the labels  {'  '.join(cells)}")
