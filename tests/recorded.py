"""Tables of the sample's recorded results in README.md and docs/, from metrics/*.json.

`python -m tests.recorded` writes them anew, the table after each `<!-- recorded: NAME -->`;
tests/test_recorded.py compares them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.files import write_bytes
from tests.conftest import REPO
from training.tools.ablation import ARMS

DOCUMENTS = ("README.md", "docs/reproduction.md", "docs/drawn518.md")
MARK = re.compile(r"<!-- recorded: (\w+) -->\n\n(?:\|.*\n)*")
_INSTANCES = ("1", "2", "6", "10")
_COLUMNS = "1st instance | 2nd (1-shot) | 6th (5-shot) | 10th"
_HEADS = {
    "mann": "memory",
    "lstm": "LSTM without memory",
    "transformer": "transformer over support and query",
    "prototypes": "class means of the embedding",
    "linear": "ridge regression on the features",
    "nearest_mean": "class means of the features",
}
_SCORES = ("top1", "top5", "top1_any", "top5_any")


def metrics(name: str) -> dict[str, Any]:
    """The content of metrics/<name>.json."""
    found: dict[str, Any] = json.loads((REPO / "metrics" / f"{name}.json").read_text())
    return found


def with_tables(text: str) -> str:
    """A document with its marked tables written anew."""
    return MARK.sub(lambda mark: f"<!-- recorded: {mark[1]} -->\n\n" + "".join(map(_line, TABLES[mark[1]]())), text)


def _line(row: str) -> str:
    return f"|{row}|\n" if row.startswith("---") else f"| {row} |\n"


def percent(mean: float, ci95: float) -> str:
    """In % with half of the interval."""
    return f"{100 * mean:.1f} ± {100 * ci95:.1f}"


def error(values: Mapping[str, Any]) -> str:
    """A reconstruction error with half of its interval."""
    return f"{values['mean']:.3f} ± {values['ci95']:.3f}"


def instances(method: Mapping[str, Any]) -> str:
    """Accuracy at the instances that tables show."""
    return " | ".join(percent(method["instance_accuracy"][k], method["instance_ci95"][k]) for k in _INSTANCES)


def by_encoder(encoder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and result of each method on a frozen encoder; of the untrained memory too where it is the pre-trained one."""
    found = metrics("evaluate")
    for head, name in _HEADS.items():
        if f"{head}_{encoder}" in found:
            yield name, found[f"{head}_{encoder}"]
    if encoder == "pretrained":
        yield "memory, nothing trained", found["untrained"]


def with_differences(encoder: str) -> Iterator[str]:
    """Accuracies on an encoder, and the paired differences from the first method."""
    titles = {"pretrained": "pre-trained encoder", "random": "encoder not pre-trained"}
    yield f"{titles[encoder]} | {_COLUMNS} | difference"
    yield "---|---|---|---|---|---"
    for name, method in by_encoder(encoder):
        shots = method.get("difference", {}).values()
        yield f"{name} | {instances(method)} | {', '.join(percent(shot['mean'], shot['ci95']) for shot in shots)}"


def few_shot_short() -> Iterator[str]:
    """README's choice of methods."""
    found = metrics("evaluate")
    yield f"accuracy in % | {_COLUMNS}"
    yield "---|---|---|---|---"
    for key, name in {
        "mann_pretrained": "memory, pre-trained encoder",
        "mann_random": "memory, encoder not pre-trained",
        "lstm_pretrained": "LSTM without memory",
        "transformer_pretrained": "transformer over support and query",
        "prototypes_pretrained": "class means of the trained embedding",
        "nearest_mean_pretrained": "class means of the encoder's features",
        "untrained": "memory, nothing trained",
    }.items():
        yield f"{name} | {instances(found[key])}"


def few_shot_all() -> Iterator[str]:
    """All methods on both encoders."""
    yield f"{metrics('evaluate')['untrained']['few_shot']['5way_1shot']['episodes']} episodes, % | {_COLUMNS}"
    yield "---|---|---|---|---"
    for encoder, text in {"pretrained": "encoder pre-trained", "random": "encoder not pre-trained"}.items():
        for name, method in by_encoder(encoder):
            yield f"{name}{'' if 'nothing' in name else ', ' + text} | {instances(method)}"


def stage1() -> Iterator[str]:
    """Error by tick and over all ticks."""
    found = metrics("stage1")
    models = (
        found["fine_tuned"],
        found["baseline"],
        found["controls"]["same_place"],
        found["controls"]["visible_mean"],
    )
    yield "`mse_standardised` | fine-tuned | baseline | same place over time | visible mean | clips"
    yield "---|---|---|---|---|---"
    for tick, first in found["fine_tuned"]["mse_standardised_by_tick"].items():
        shown = " | ".join(error(model["mse_standardised_by_tick"][tick]) for model in models)
        yield f"tick {tick} | {shown} | {first['clips']}"
    overall = ({"mean": model["mse_standardised"], "ci95": model["mse_standardised_ci95"]} for model in models)
    yield f"all ticks | {' | '.join(map(error, overall))} | {found['fine_tuned']['clips']}"


def stage2() -> Iterator[str]:
    """Scores of both classifiers and the controls."""
    found = metrics("stage2")
    yield " | top-1 | top-5 | top-1, any label | top-5, any label | macro F1 | multi-label F1, macro | micro"
    yield "---|---|---|---|---|---|---|---"
    for key, name in {"unmasked": "unmasked", "masked": "80% masked"}.items():
        shown = [percent(found[key][score], found[key][f"{score}_ci95"]) for score in _SCORES]
        shown += [f"{100 * found[key][score]:.1f}" for score in ("macro_f1", "f1_multilabel", "micro_f1")]
        yield f"{name} | {' | '.join(shown)}"
    names = {
        "logistic_regression": "logistic regression on frozen latents",
        "most_frequent": "most frequent label in training",
    }
    for key, name in names.items():
        control = found["controls"][key]
        yield f"{name} | {percent(control['top1'], control['top1_ci95'])} | | | | | |"
    yield f"chance | {100 * found['controls']['chance']['top1']:.1f} | | | | | |"


def ablation() -> Iterator[str]:
    """1-shot and 5-shot accuracy of every arm by the share of labels, and the deviations over seeds if there are several."""
    arms = metrics("ablation")["arms"]
    shares = next(iter(arms.values()))
    labels = (f"{100 * float(share):g}%, {result['labels']:,} clips" for share, result in shares.items())
    yield f"1-shot / 5-shot, % | {' | '.join(labels)}"
    yield "---|" * len(shares) + "---"
    for key, name in ARMS.items():
        cells = (" / ".join(_shot(shot) for shot in result["few_shot"].values()) for result in arms[key].values())
        yield f"{name} | {' | '.join(cells)}"


def _shot(shot: Mapping[str, Any]) -> str:
    deviation = "" if not shot["deviation"] else f" (seeds ± {100 * shot['deviation']:.1f})"
    return percent(shot["mean"], shot["ci95"]) + deviation


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "stage1": stage1,
    "stage2": stage2,
    "few_shot": lambda: with_differences("pretrained"),
    "few_shot_random": lambda: with_differences("random"),
    "few_shot_short": few_shot_short,
    "few_shot_all": few_shot_all,
    "ablation": ablation,
}


def main() -> None:
    """Write the tables of all documents."""
    for name in DOCUMENTS:
        path = Path(REPO, name)
        write_bytes(path, with_tables(path.read_text()).encode())


if __name__ == "__main__":
    main()
