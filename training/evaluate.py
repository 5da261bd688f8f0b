"""evaluate: few-shot accuracy on the held-out classes, with 95% intervals over episodes."""

import io
from collections.abc import Mapping, Sequence
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
from training.engine.checkpoints import load_finished
from training.engine.device import pick_device
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_ci95
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.features import FeatureShape, extract, feature_shape
from training.fewshot.learner import FewShotLearner
from training.fewshot.methods import METHODS, Method, build_classifier, build_learner, embedding_run
from training.fewshot.predict import accuracies, embed_clips, predict
from training.params import TrainingParams

PREDICTIONS = LOGS / "evaluate.parquet"
_SHOTS = (1, 5)


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

    Every single prediction is written to logs/evaluate.parquet, which is not tracked.
    """
    settings = params.load()
    stage = settings.stage3
    clips = Clips(shards=settings.loader.shards)
    rows = clips.select(split="test")
    count_instances(class_ids(rows), stage.way, stage.instances)  # fails before any work
    autoencoders = load_autoencoders(settings, clips.size)
    config = autoencoders["pretrained"].config
    training_classes = len({clip.class_id for clip in clips.select(split="train")}) - stage.validation_classes
    methods = [METHODS[name] for name in stage.methods]
    shape = feature_shape(config, stage.feature_grid)
    learners = {method: load_learner(method, shape, training_classes, settings) for method in methods}
    data = load_windows(clips, rows, config, settings.pretrain, "pretrain", settings.loader)
    classes = class_ids(data.rows)
    instances = count_instances(classes, stage.way, stage.instances)
    sampler = EpisodeSampler(classes, stage.way, instances)
    episodes = sampler.draw(settings.evaluate.episodes, Generator().manual_seed(settings.evaluate.seed))
    device = pick_device()
    predicted: dict[str, Tensor] = {}
    for encoder, autoencoder in autoencoders.items():
        chosen = [method for method in methods if method.encoder == encoder]
        if chosen:
            features = extract(autoencoder, data, windows=stage.windows, grid=stage.feature_grid)
        for method in chosen:
            learner = learners[method].to(device).eval()
            embedded = embed_clips(learner.embedding, features, device)
            predicted[method.name] = predict(learner.head, embedded, episodes, stage.way)
    results = compare({name: accuracies(predicted[name], episodes) for name in stage.methods}, stage.way)
    write_predictions(predicted, episodes, [clip.clip_id for clip in data.rows])
    write_metrics("evaluate", {"classes": len(classes.unique()), "way": stage.way, "instances": instances, **results})
    write_curves(results)
    print_summary(results)


def load_learner(method: Method, shape: FeatureShape, classes: int, settings: TrainingParams) -> FewShotLearner:
    """A method's learner with the weights that stage 3 has trained.

    Args:
        method: the method.
        shape: of a window's features.
        classes: number of classes that the embedding was trained on.
        settings: all params.

    Raises:
        WorkError: stage 3 has not finished with these params and data.
    """
    learner = build_learner(method, shape, settings.stage3)
    if method.trains_embedding:
        classifier = build_classifier(shape, classes, settings.stage3)
        load_finished(stage3_run(settings, embedding_run(method.encoder)), classifier)
        learner.embedding = classifier.embedding
    if method.trains_head:
        load_finished(stage3_run(settings, method.name), learner.head)
    return learner


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
