"""evaluate: few-shot accuracy on the held-out classes, with 95% intervals over episodes."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Generator, Tensor

from common.errors import ParamError
from common.files import write_bytes
from common.paths import LOGS, PLOTS
from training import params
from training.clips import Clip, Clips
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import build_autoencoder, load_autoencoders, load_windows
from training.engine.statistics import mean_ci95
from training.fewshot.classes import split_classes, training_rows
from training.fewshot.confusions import as_table, confused_pairs
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.features import extract
from training.fewshot.head import Head
from training.fewshot.methods import METHODS, Method
from training.fewshot.predict import accuracies, embed_clips, predict
from training.fewshot.text import ClassNames, class_names
from training.fewshot.trainer import FrozenFeatures, TrainedMethod, load_method
from training.models import MAE
from training.params import EncoderName, Stage3, TrainingParams

PREDICTIONS = LOGS / "evaluate.parquet"
_SHOTS = (1, 5)
_PAIRS = 50  # that are written


class FewShot(TypedDict):
    """Accuracy after so many labelled clips per class."""

    mean: float
    ci95: float
    episodes: int


class Result(TypedDict, total=False):
    """Accuracies of a method, by instance (from "1") and by shots ("5way_1shot").

    `difference` holds, by shots, the accuracy less that of the first method in params, in the same episodes; the first method
    has none.
    """

    instance_accuracy: dict[str, float]
    instance_ci95: dict[str, float]
    few_shot: dict[str, FewShot]
    difference: dict[str, FewShot]


def main() -> None:
    """Read the shards, checkpoints/pretrain/ and checkpoints/stage3/; write metrics/evaluate.json and plots/instances.tsv.

    Every single prediction is written to logs/evaluate.parquet, which is not tracked; the pairs of classes that the first method
    confuses most to plots/confused_pairs.tsv.
    """
    settings = params.load()
    stage = settings.stage3
    clips = Clips(shards=settings.loader.shards)
    rows = clips.select(split="test")
    count_instances(class_ids(rows), stage.way, stage.instances)  # fails before any work
    autoencoders = load_autoencoders(settings, clips.size)
    training = split_classes(training_rows(clips, stage), stage)[0]
    trained = load_methods(settings, autoencoders, clips.size, len(training.classes))
    config = autoencoders["pretrained"].config
    data = load_windows(clips, rows, config, settings.pretrain, "pretrain", settings.loader)
    classes = class_ids(data.rows)
    instances = count_instances(classes, stage.way, stage.instances)
    sampler = EpisodeSampler(classes, stage.way, instances)
    episodes = sampler.draw(settings.evaluate.episodes, Generator().manual_seed(settings.evaluate.seed))
    features = FrozenFeatures(autoencoders, data, windows=stage.windows, grid=stage.feature_grid, kind=stage.features)
    embedded = {name: embed_test(METHODS[name], trained[name], features, stage) for name in trained}
    told = any(METHODS[name].named for name in stage.methods)
    names = class_names(data.rows, stage.text) if told else None
    predicted = {
        name: predict(trained[name].learner.head, embedded[name], episodes, stage.way, names) for name in stage.methods
    }
    results = compare({name: accuracies(predicted[name], episodes) for name in stage.methods}, stage.way)
    heads = {name: trained[name].learner.head for name in stage.methods}
    write_predictions(predicted, episodes, [clip.clip_id for clip in data.rows])
    pairs = confused_pairs(predicted[stage.methods[0]], episodes, classes)[:_PAIRS]
    write_bytes(
        PLOTS / "confused_pairs.tsv", as_table(pairs, {clip.class_id: clip.class_name for clip in data.rows}).encode()
    )
    write_curves(results)
    found = {"classes": len(classes.unique()), "way": stage.way, "instances": instances}
    by_source = measure_by_source(heads, embedded, data.rows, settings, names)
    write_metrics("evaluate", {**found, "by_source": by_source, **results})
    print_summary(results)


def measure_by_source(
    heads: Mapping[str, Head],
    embedded: Mapping[str, Tensor],
    rows: Sequence[Clip],
    settings: TrainingParams,
    names: ClassNames | None = None,
) -> dict[str, dict[str, object]]:
    """Accuracies in episodes whose classes are all of one source, for each source that has as many classes.

    Args:
        heads: of the methods, in eval mode.
        embedded: what they work on, of all clips, (N, ...).
        rows: the clips.
        settings: all params.
        names: of the clips' classes, for heads that are told them.
    """
    way, ids = settings.stage3.way, class_ids(rows)
    found: dict[str, dict[str, object]] = {}
    for source in dict.fromkeys(clip.source for clip in rows):
        clips = torch.tensor([place for place, clip in enumerate(rows) if clip.source == source])
        with contextlib.suppress(ParamError):
            instances = count_instances(ids[clips], way, settings.stage3.instances)
            sampler = EpisodeSampler(ids, way, instances, clips=clips)
            episodes = sampler.draw(settings.evaluate.episodes, Generator().manual_seed(settings.evaluate.seed))
            found[source] = {"classes": len(ids[clips].unique()), "instances": instances}
            for name, head in heads.items():
                hits = accuracies(predict(head, embedded[name], episodes, way, names), episodes)
                found[source][name] = {"few_shot": summarise(hits, way)["few_shot"]}
    return found


def load_methods(
    settings: TrainingParams, autoencoders: Mapping[EncoderName, MAE], size: int, classes: int
) -> dict[str, TrainedMethod]:
    """The methods as stage 3 has trained them, in an order in which methods on the same encoder follow one another.

    Args:
        settings: all params.
        autoencoders: of the frozen encoders.
        size: of the clips' frames in pixels.
        classes: number of classes that the embeddings were trained on.

    Raises:
        WorkError: stage 3 has not finished with these params and data.
    """
    found = {}
    for name in sorted(settings.stage3.methods, key=lambda name: METHODS[name].encoder):
        method = METHODS[name]
        autoencoder = (
            build_autoencoder(settings.pretrain, "pretrain", size)
            if method.end_to_end
            else autoencoders[method.encoder]
        )
        found[name] = load_method(method, autoencoder, classes, settings.stage3, partial(stage3_run, settings))
    return found


def embed_test(method: Method, trained: TrainedMethod, features: FrozenFeatures, settings: Stage3) -> Tensor:
    """What the method's head works on, of all clips, (N, ...)."""
    data = features.data
    found = (
        extract(trained.encoder, data, windows=settings.windows, grid=settings.feature_grid, kind=settings.features)
        if method.end_to_end
        else features(method.encoder)
    )
    return embed_clips(trained.learner.embedding, found, data.device)


def class_ids(rows: Sequence[Clip]) -> Tensor:
    """The class of each clip, (N,)."""
    return torch.tensor([clip.class_id for clip in rows])


def count_instances(classes: Tensor, way: int, wanted: int) -> int:
    """Clips of a class in an episode: `wanted`, or as many as `way` of the classes (N,) have.

    Raises:
        ParamError: fewer than `way` classes have two clips.
    """
    counts = classes.bincount().sort(descending=True).values
    usable = int((counts > 1).sum())
    if usable < way:
        raise ParamError(
            f"params.yaml: stage3.way is {way}: only {usable} held-out classes have two clips or more; "
            "lower it or raise split.held_out"
        )
    return min(wanted, int(counts[way - 1]))


def compare(by_method: Mapping[str, Tensor], way: int) -> dict[str, Result]:
    """Accuracies of every method, and paired differences from the first.

    Args:
        by_method: accuracy in each round of each episode, (episodes, rounds); the same episodes for all.
        way: classes in an episode.
    """
    first = next(iter(by_method.values()))
    results = {}
    for name, values in by_method.items():
        results[name] = summarise(values, way)
        if values is not first:
            results[name]["difference"] = summarise(values - first, way)["few_shot"]
    return results


def summarise(hits: Tensor, way: int) -> Result:
    """Accuracies with 95% intervals over episodes, from the accuracy in each round of each episode (episodes, rounds).

    Round k measures the accuracy after k - 1 labelled clips per class, so round 2 is 1-shot and round 6 is 5-shot.
    """
    by_instance = [mean_ci95(column) for column in hits.unbind(1)]
    few_shot: dict[str, FewShot] = {
        f"{way}way_{shots}shot": {
            "mean": by_instance[shots][0],
            "ci95": by_instance[shots][1],
            "episodes": len(hits),
        }
        for shots in _SHOTS
        if shots < len(by_instance)
    }
    return {
        "instance_accuracy": {str(number): mean for number, (mean, _) in enumerate(by_instance, 1)},
        "instance_ci95": {str(number): ci95 for number, (_, ci95) in enumerate(by_instance, 1)},
        "few_shot": few_shot,
    }


def write_predictions(predicted: Mapping[str, Tensor], episodes: Episodes, clip_ids: Sequence[str]) -> None:
    """Write logs/evaluate.parquet: method, episode, instance (from 1), clip_id, label and predicted label of every clip.

    Args:
        predicted: labels by method, (episodes, rounds, way).
        episodes: the episodes.
        clip_ids: by position.
    """
    number, rounds, way = episodes.labels.shape
    size = rounds * way
    names = pa.array(clip_ids, pa.string())
    table = pa.concat_tables(
        pa.table(
            {
                "method": pa.array([name] * (number * size)).dictionary_encode(),
                "episode": pa.array(np.repeat(np.arange(number), size), pa.int32()),
                "instance": pa.array(np.tile(np.repeat(np.arange(1, rounds + 1), way), number), pa.int16()),
                "clip_id": names.take(pa.array(episodes.clips.flatten().numpy())).dictionary_encode(),
                "label": pa.array(episodes.labels.flatten().numpy(), pa.int16()),
                "predicted": pa.array(labels.flatten().numpy(), pa.int16()),
            }
        )
        for name, labels in predicted.items()
    )
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    write_bytes(PREDICTIONS, file.getvalue())


def write_curves(results: dict[str, Result]) -> None:
    """Write plots/instances.tsv: accuracy by method and instance."""
    lines = ["method\tinstance\taccuracy"]
    for name, result in results.items():
        lines += [f"{name}\t{number}\t{accuracy:.4f}" for number, accuracy in result["instance_accuracy"].items()]
    write_bytes(PLOTS / "instances.tsv", ("\n".join(lines) + "\n").encode())


def print_summary(results: dict[str, Result]) -> None:
    """Print each method's accuracy at the first and the last instance."""
    for name, result in results.items():
        accuracy = result["instance_accuracy"]
        last = max(accuracy, key=int)
        print(
            f"evaluate: {name:<24} instance 1 {accuracy['1']:6.1%}   instance {last} {accuracy[last]:6.1%} "
            f"± {result['instance_ci95'][last]:.1%}"
        )
