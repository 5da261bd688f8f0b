"""The responsible-AI fields of Croissant (`rai:*`, RAI 1.0): how the data came about, what it is for, and what it lacks."""

from typing import Any

from pipeline.composite.dataset import Dataset
from pipeline.records.manifests import count_failures

_PAD = {"loop": "by repeating the clip", "hold": "by repeating its last frame"}
_DRAWN = "drawn by the pipeline: articulated figures, labelled by the motion that they are drawn with."
_FIT = {"stretch": "stretched to a square", "letterbox": "fitted into a square with black bars"}


def fields(dataset: Dataset) -> dict[str, Any]:
    """The fields by their names in the JSON-LD; texts, or lists of texts."""
    settings = dataset.settings
    trim, resample, resize = settings.trim, settings.resample, settings.resize
    lost = count_failures(dataset.clips)
    causes = ", ".join(f"{code} {number:,}" for code, number in lost.items())
    short = sum(row.valid_frames < resample.frames for row in dataset.rows)
    return {
        "rai:dataCollection": _by_source(dataset, "collection"),
        "rai:dataCollectionType": ["Software Collection"]
        if dataset.drawn
        else ["Web Scraping", "Secondary Data Analysis"],
        "rai:dataCollectionRawData": "The videos are not part of the dataset: its frames were decoded from them once.",
        "rai:dataCollectionMissingData": f"Clips lost, by reason: {causes}." if causes else "No clip was lost.",
        "rai:dataImputationProtocol": f"{short:,} clips are shorter than {resample.frames} frames and padded "
        f"{_PAD[resample.pad]}; valid_frames is the number of their own frames.",
        "rai:dataPreprocessingProtocol": [
            f"trim: cut without re-encoding, with {trim.margin_s:g} s after the end",
            f"resample: {resample.frames} ticks at {resample.fps} FPS, the frame on screen at each; "
            f"clips with fewer than {resample.min_frames} ticks are left out",
            f"resize: each frame {_FIT[resize.fit]} of {resize.size}x{resize.size} by area; "
            f"one {resize.format} image a clip, quality {resize.quality}",
            f"merge: classes by the rule {settings.merge.class_rule}",
            f"split: by class, {settings.split.by}, seed {settings.split.seed}; no class, content or video is in two splits",
        ],
        "rai:dataAnnotationProtocol": [_by_source(dataset, "annotation")],
        "rai:dataBiases": [_by_source(dataset, "biases")],
        "rai:personalSensitiveInformation": [_by_source(dataset, "people")],
        "rai:dataUseCases": ["Research on action recognition and few-shot learning from small video."],
        "rai:dataLimitations": [
            "Small, silent frames at a low rate: what needs detail, sound or fast motion cannot be learned from them.",
            "Not meant for identifying or watching people.",
            *(["Results on drawn clips say nothing of real videos."] if dataset.drawn else []),
        ],
        "rai:dataSocialImpact": "Methods of action recognition can be used for surveillance.",
        "rai:dataReleaseMaintenancePlan": "A dataset is made anew by the pipeline from the same sources and params; "
        "equal inputs give equal bytes, and the digests here tell versions apart.",
    }


def _by_source(dataset: Dataset, fact: str) -> str:
    """The fact of each source; of drawn clips, how they are drawn."""
    return " ".join(
        f"{facts.title}: {_DRAWN if dataset.is_drawn(facts) else getattr(facts, fact)}"
        for facts in dataset.present.values()
    )
