"""ablation_stage2: stage 2 with and without Shifted Patch Tokenization, masked and unmasked, pre-trained and from scratch.

The networks with SPT are those of stage 2 itself, which are trained here if they are not yet. An interrupted ablation goes
on where it stopped.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from training import params
from training.clips import Clips
from training.engine.checkpoints import Run
from training.engine.log import log_path
from training.engine.metrics import write_metrics
from training.engine.recognition import Recognition
from training.engine.runs import stage2_run
from training.params import TrainingParams
from training.stage2 import split_clips


def main() -> None:
    """Train what is missing; write metrics/ablation_stage2.json and print it as a table."""
    settings = params.load()
    clips = Clips(shards=settings.loader.shards)
    rows, test_rows = split_clips(clips)
    table: list[dict[str, object]] = []
    scratch: dict[str, object] = {}
    for spt in (True, False):
        changed = settings if spt else without_spt(settings)
        recognition = Recognition(changed.stage2, changed.loader, clips, rows, test_rows)
        first = _run(changed, "autoencoder", spt=spt)
        autoencoder, history = recognition.pretrain(first)
        for name, masked in (("unmasked", False), ("masked", True)):
            run = _run(changed, name, spt=spt)
            model, tuned = recognition.finetune(run, autoencoder, masked=masked)
            steps = len(history["loss"]) + len(tuned["loss"])
            row = {"spt": spt, "masked": masked, **recognition.score(model, masked=masked), "steps": steps}
            table.append(row | {"seconds": _seconds(first, run)})
            _show(f"{'SPT' if spt else 'no SPT'}, {name}", table[-1])
        if spt:
            run = replace(stage2_run(changed, "unmasked"), name="ablation_stage2/scratch")
            model, tuned = recognition.finetune(run, recognition.new_autoencoder(), masked=False)
            scores = recognition.score(model, masked=False)
            scratch = {"spt": True, "masked": False, **scores, "steps": len(tuned["loss"]), "seconds": _seconds(run)}
            _show("SPT, unmasked, not pre-trained", scratch)
    write_metrics("ablation_stage2", {"rows": table, "scratch": scratch})


def without_spt(settings: TrainingParams) -> TrainingParams:
    """`settings` with tubelet embedding in stage 2."""
    stage = settings.stage2
    return replace(settings, stage2=replace(stage, overrides=stage.overrides | {"tokenizer": "tubelet"}))


def _run(settings: TrainingParams, network: str, *, spt: bool) -> Run:
    run = stage2_run(settings, network)
    return run if spt else replace(run, name=f"ablation_stage2/tubelet_{network}")


def _seconds(*runs: Run) -> float | None:
    """Time that the runs took, by their logs; None if a log is missing."""
    total = 0.0
    for run in runs:
        path = log_path(run.name)
        if not path.exists():
            return None
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        total += sum(event["seconds"] for event in events if event.get("event") == "end")
    return round(total, 1)


def _show(name: str, row: Mapping[str, object]) -> None:
    top1, ci95, top5 = (100 * float(str(row[key])) for key in ("top1", "top1_ci95", "top5"))
    f1, seconds = row["f1_multilabel"], row["seconds"]
    print(
        f"{name:32} top-1 {top1:5.1f} ± {ci95:.1f}  top-5 {top5:5.1f}  F1 {f1:.3f}  {row['steps']} steps  {seconds} s"
    )
