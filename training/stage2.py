"""stage2: a small ViT with Shifted Patch Tokenization, from scratch, on TinyVIRAT's classes.

A masked autoencoder is pre-trained on TinyVIRAT's training clips. Its encoder is then fine-tuned with a classification head,
once on all patches and once on the visible ones of masked clips. Both are measured on TinyVIRAT's test clips.
"""

from common.errors import WorkError
from training import params
from training.clips import Clip, Clips
from training.engine.metrics import write_metrics
from training.engine.recognition import Recognition
from training.engine.runs import stage2_run


def main() -> None:
    """Read the shards; write checkpoints/stage2/, metrics/stage2.json and the curves of losses and accuracies."""
    settings = params.load()
    clips = Clips(shards=settings.loader.shards)
    recognition = Recognition(settings.stage2, settings.loader, clips, *split_clips(clips))
    autoencoder, _ = recognition.pretrain(stage2_run(settings, "autoencoder"))
    results: dict[str, object] = {
        "classes": len(recognition.labels.names),
        "train_clips": len(recognition.train),
        "validation_clips": 0 if recognition.held is None else len(recognition.held),
        "test_clips": len(recognition.test),
    }
    for name, masked in (("unmasked", False), ("masked", True)):
        model, _ = recognition.finetune(stage2_run(settings, name), autoencoder, masked=masked)
        results[name] = scores = recognition.score(model, masked=masked)
        print(
            f"stage2: {name}: top-1 {scores['top1']:.1%} ± {scores['top1_ci95']:.1%}, top-5 {scores['top5']:.1%} of first "
            f"labels; F1 of all labels {scores['f1_multilabel']:.3f} (macro), {scores['micro_f1']:.3f} (micro)"
        )
    results["controls"] = controls = recognition.controls(autoencoder)
    print("stage2: controls: " + ", ".join(f"{name} {values['top1']:.1%}" for name, values in controls.items()))
    write_metrics("stage2", results)


def split_clips(clips: Clips) -> tuple[list[Clip], list[Clip]]:
    """TinyVIRAT's clips for training and for the test, by its own split.

    Raises:
        WorkError: there are none of either.
    """
    labelled = [clip for clip in clips.rows if clip.tinyvirat_labels]
    rows = [clip for clip in labelled if clip.official_split != "test"]
    test_rows = [clip for clip in labelled if clip.official_split == "test"]
    if not rows or not test_rows:
        raise WorkError("stage2 needs TinyVIRAT's train and test clips: list a source of kind tinyvirat in params.yaml")
    return rows, test_rows
