"""evaluate: few-shot accuracy on the held-out classes, with 95% intervals over episodes."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from common.errors import ParamError
from common.files import write_bytes
from common.paths import PLOTS
from training import params
from training.clips import Clip, Clips
from training.engine.checkpoints import load_finished
from training.engine.device import pick_device
from training.engine.metrics import write_metrics
from training.engine.runs import stage3_run
from training.engine.setup import load_autoencoders, load_windows
from training.engine.statistics import mean_ci95
from training.fewshot.episodes import Episodes, EpisodeSampler
from training.fewshot.features import extract, feature_shape
from training.fewshot.learner import FewShotLearner
from training.fewshot.methods import METHODS

_BATCH = 20  # episodes
_SHOTS = (1, 5)


class FewShot(TypedDict):
    """Accuracy after so many labelled clips per class."""

    mean: float
    ci95: float
    episodes: int


class Result(TypedDict):
    """Accuracies of a method, by instance (from "1") and by shots ("5way_1shot")."""

    instance_accuracy: dict[str, float]
    instance_ci95: dict[str, float]
    few_shot: dict[str, FewShot]


def main() -> None:
    """Read the shards, checkpoints/pretrain/ and checkpoints/stage3/; write metrics/evaluate.json and plots/instances.tsv."""
    settings = params.load()
    way = settings.stage3.way
    clips = Clips(shards=settings.loader.shards)
    rows = clips.select(split="test")
    count_instances(class_ids(rows), way, settings.stage3.instances)  # fails before any work
    autoencoders = load_autoencoders(settings, clips.size)
    config, grid = autoencoders[True].config, settings.stage3.feature_grid
    shape = feature_shape(config, grid)
    training_classes = len({clip.class_id for clip in clips.select(split="train")})
    learners = {method: method.build(shape, training_classes, settings.stage3).eval() for method in METHODS}
    for method, learner in learners.items():
        if method.trained:
            load_finished(stage3_run(settings, method.name), learner)
    data = load_windows(clips, rows, config, settings.pretrain, "pretrain", settings.loader)
    classes = class_ids(data.rows)
    instances = count_instances(classes, way, settings.stage3.instances)
    sampler = EpisodeSampler(classes, way, instances)
    episodes = sampler.draw(settings.evaluate.episodes, Generator().manual_seed(settings.evaluate.seed))
    features = {
        pretrained: extract(autoencoder, data, windows=1, grid=grid)[:, 0]
        for pretrained, autoencoder in autoencoders.items()
    }
    results = {
        method.name: summarise(run_episodes(learner.to(pick_device()), features[method.pretrained], episodes), way)
        for method, learner in learners.items()
    }
    for name, chosen in (("nearest_mean_pretrained", True), ("nearest_mean_scratch", False)):
        results[name] = summarise(nearest_mean(features[chosen], episodes), way)
    write_metrics("evaluate", {"classes": len(classes.unique()), "way": way, "instances": instances, **results})
    write_curves(results)
    print_summary(results)


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


@torch.no_grad()
def run_episodes(model: FewShotLearner, features: Tensor, episodes: Episodes) -> Tensor:
    """Accuracy of a learner in each round of each episode, (episodes, rounds); features (N, times, F)."""
    device = model.scale.device
    hits = []
    for clips, labels in zip(episodes.clips.split(_BATCH), episodes.labels.split(_BATCH), strict=True):
        logits, _ = model(features[clips].to(device), labels.to(device))
        hits.append((logits.argmax(-1).cpu() == labels).float().mean(2))
    return torch.cat(hits)


@torch.no_grad()
def nearest_mean(features: Tensor, episodes: Episodes) -> Tensor:
    """Accuracy of predicting the class whose clips of earlier rounds have the most similar mean feature.

    Nothing but the encoder is trained. In the first round every class mean is zero, and label 0 is predicted.

    Args:
        features: (N, times, F); scaled to unit length here.
        episodes: of these clips.

    Returns:
        (episodes, rounds)
    """
    vectors = F.normalize(features.float().flatten(1), dim=1)
    way = episodes.labels.shape[2]
    hits = []
    for clips, labels in zip(episodes.clips, episodes.labels, strict=True):
        sums = torch.zeros(way, vectors.shape[1])
        by_round = []
        for queries, truth in zip(vectors[clips], labels, strict=True):
            by_round.append(((queries @ sums.T).argmax(1) == truth).float().mean())
            sums.index_add_(0, truth, queries)
        hits.append(torch.stack(by_round))
    return torch.stack(hits)


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
