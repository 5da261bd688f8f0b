"""The numbers of arXiv 2308.01916, and where this project differs from it."""

from dataclasses import dataclass

TICKS = (20, 40, 60, 80, 100)  # frames of a clip, from 1
# Table 3: the loss on the test split by frame, and over all frames; the paper calls it cross entropy.
RECONSTRUCTION = {
    "fine-tuned": {20: 0.1785, 40: 0.1825, 60: 0.1992, 80: 0.1672, 100: 0.1457},
    "not fine-tuned": {20: 0.1621, 40: 0.1948, 60: 0.1635, 80: 0.1758, 100: 0.1885},
}
RECONSTRUCTION_OVERALL = {"fine-tuned": 0.1776, "not fine-tuned": 0.1781}
# Stage 2, in percent: name, top-1, top-5. None: not published.
CLASSIFICATION: tuple[tuple[str, float | None, float | None], ...] = (
    ("end to end, 3.1 million parameters", 37.0, 75.0),
    ("head, unmasked, 2.7 million parameters", None, 74.5),
    ("head, masked 80%", None, 76.0),
    ("SPT, 10 + 10 epochs, unmasked", 46.8, None),
)
SPT_TOP1 = 46.8


@dataclass(frozen=True)
class Difference:
    """Something that this project does in another way, and the reason."""

    what: str
    why: str


DIFFERENCES = (
    Difference(
        "Reconstruction errors have two names, `mse_standardised` and `bce_pixels`.",
        "A pixel cross entropy of 0.17 is impossible: a perfect prediction of such pixels already costs more. The "
        "paper's numbers fit a mean squared error of standardised pixels, beside which they stand here.",
    ),
    Difference(
        "Errors are those of masked pixels alone, and padding counts for nothing.",
        "Visible pixels are given to the model. Most TinyVIRAT clips are shorter than 100 frames and padded.",
    ),
    Difference(
        "Every result has a 95% interval and trivial controls beside it.",
        "The paper's fine-tuned and baseline losses differ by 0.0005, which means nothing without an interval.",
    ),
    Difference(
        "518 classes are Kinetics' 400 and the 118 most frequent sets of TinyVIRAT labels.",
        "The paper does not explain its number: Kinetics has 400 classes and TinyVIRAT 26.",
    ),
    Difference(
        "Top-1 and top-5 of stage 2 count a clip's first label; F1 counts all of them.",
        "TinyVIRAT is multi-label and the paper's rule is not stated. Top-1 cannot reach 100% where a clip has several.",
    ),
    Difference(
        "Shifted Patch Tokenization sets masked patches to zero before it shifts them.",
        "A shifted copy would carry masked neighbours into visible tokens, and the reconstruction would be a copy.",
    ),
    Difference(
        "Stage 1 starts from this project's own pre-training unless `stage1.weights` names a checkpoint.",
        "The paper's ViT-L checkpoint of MAE-ST is not distributed with the code.",
    ),
    Difference(
        "Mixup, label smoothing and dropout of Table 1 are not applied to a reconstruction.",
        "They change a classifier's labels and head, which stage 1 does not have.",
    ),
    Difference(
        "Stage 3 has an external memory that is read and written by similarity and least use; an LSTM stands beside it.",
        "The paper names Santoro et al. 2016, whose network has such a memory; the LSTM is the control without one.",
    ),
)
SAMPLE_DIFFERENCE = Difference(
    "The clips are drawings, and models and schedules are small.",
    "The sample corpus shows on two CPU cores that every stage runs and learns. `make dataset CORPUS=full` makes the "
    "paper's dataset; the `sample:` blocks of params.yaml then do not apply.",
)
