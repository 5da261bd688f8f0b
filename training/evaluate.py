"""evaluate: few-shot accuracy on the classes that training never saw, with 95% intervals over episodes."""

import torch
from torch import Tensor

from common.errors import WorkError
from common.files import write_bytes, write_json
from training import params
from training.clips import Clips
from training.engine.loop import CHECKPOINTS, METRICS, PLOTS, pick_device
from training.engine.statistics import mean_ci95
from training.fewshot.episodes import EpisodeSampler
from training.fewshot.learner import FewShotLearner
from training.models import load_pretrained
from training.params import TrainingParams
from training.stage3 import METHODS, checkpoint_of, class_numbers, features_of, learner

_BATCH = 20
_SHOTS = {"5way_1shot": 1, "5way_5shot": 5}


def main() -> None:
    """Read the shards and checkpoints/stage3/, write metrics/evaluate.json and plots/instances.tsv."""
    settings = params.load()
    clips = Clips()
    rows = clips.select(split="test")
    classes = class_numbers(rows)
    known = len({clip.class_id for clip in clips.select(split="train")})
    instances = _instances(classes, settings)
    features = {
        pretrained: features_of(clips, rows, settings, pretrained=pretrained, windows=1) for pretrained in (True, False)
    }
    results = {}
    for method in METHODS:
        model = learner(method, features[method.pretrained], settings.stage3, known).to(pick_device()).eval()
        if method.trained:
            load_pretrained(model, CHECKPOINTS / checkpoint_of(method) / "model.pt")
        correct = _episodes(model, features[method.pretrained], classes, instances, settings)
        results[method.name] = summarise(correct)
    for pretrained, name in ((True, "nearest_mean_pretrained"), (False, "nearest_mean_scratch")):
        correct = nearest_mean(features[pretrained][:, 0], classes, instances, settings)
        results[name] = summarise(correct)
    write_json(METRICS / "evaluate.json", {"classes": len(classes.unique()), "instances": instances} | results)
    _write_curves(results)
    _say(results)


def summarise(correct: Tensor) -> dict[str, object]:
    """From hits `(episodes, k)`, the share of right answers in each round, to accuracies with intervals."""
    by_instance = [mean_ci95(column) for column in correct.unbind(1)]
    few_shot = {
        name: {"mean": by_instance[shots][0], "ci95": by_instance[shots][1], "episodes": len(correct)}
        for name, shots in _SHOTS.items()
        if shots < len(by_instance)
    }
    return {
        "instance_accuracy": {str(number): mean for number, (mean, _) in enumerate(by_instance, 1)},
        "instance_ci95": {str(number): ci95 for number, (_, ci95) in enumerate(by_instance, 1)},
        "few_shot": few_shot,
    }


@torch.no_grad()
def nearest_mean(features: Tensor, classes: Tensor, instances: int, settings: TrainingParams) -> Tensor:
    """No memory and nothing learnt but the encoder: the class whose clips so far have the nearest mean feature."""
    flat = torch.nn.functional.normalize(features.float().flatten(1), dim=1)
    hits = []
    sampler = EpisodeSampler(classes, settings.stage3.way, instances, settings.evaluate.seed)
    for _ in range(settings.evaluate.episodes):
        episode = sampler.rounds(1)
        seen, slots = flat[episode.rows[0]], episode.slots[0]
        means = torch.zeros(settings.stage3.way, flat.shape[1])
        row = []
        for clips, labels in zip(seen, slots, strict=True):
            # Before the first labels all means are zero, all are equally near, and the first slot is the guess.
            row.append(((clips @ means.T).argmax(1) == labels).float().mean())
            means.index_add_(0, labels, clips)
        hits.append(torch.stack(row))
    return torch.stack(hits)


@torch.no_grad()
def _episodes(
    model: FewShotLearner, features: Tensor, classes: Tensor, instances: int, settings: TrainingParams
) -> Tensor:
    sampler = EpisodeSampler(classes, settings.stage3.way, instances, settings.evaluate.seed)
    hits: list[Tensor] = []
    while len(hits) * _BATCH < settings.evaluate.episodes:
        episodes = sampler.rounds(_BATCH)
        slots = episodes.slots.to(pick_device())
        logits, _ = model(features[episodes.rows, 0].to(pick_device()), slots)
        hits.append((logits.argmax(-1) == slots).float().mean(2).cpu())
    return torch.cat(hits)[: settings.evaluate.episodes]


def _instances(classes: Tensor, settings: TrainingParams) -> int:
    """Clips of a class in an episode: as many as asked, or as `way` test classes have."""
    counts = classes.bincount().sort(descending=True).values
    way = settings.stage3.way
    if int((counts > 1).sum()) < way:
        raise WorkError(
            f"evaluate: fewer than {way} held-out classes have two clips: lower stage3.way or split.held_out"
        )
    return min(settings.stage3.instances, int(counts[way - 1]))


def _write_curves(results: dict[str, dict]) -> None:
    lines = ["method\tinstance\taccuracy"]
    for name, result in results.items():
        lines += [f"{name}\t{number}\t{accuracy:.4f}" for number, accuracy in result["instance_accuracy"].items()]
    write_bytes(PLOTS / "instances.tsv", ("\n".join(lines) + "\n").encode())


def _say(results: dict[str, dict]) -> None:
    for name, result in results.items():
        accuracy = result["instance_accuracy"]
        last = max(accuracy, key=int)
        print(
            f"evaluate: {name:<24} instance 1 {accuracy['1']:6.1%}   instance {last} {accuracy[last]:6.1%} "
            f"+- {result['instance_ci95'][last]:.1%}"
        )
