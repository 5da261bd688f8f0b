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
        "The paper's cross entropy of 0.1776 stands beside `mse_standardised`; `bce_pixels` is shown as well.",
        "A perfect prediction of pixels of 0.45 ± 0.225 already has a cross entropy of 0.58. The number fits a squared "
        "error of standardised pixels.",
    ),
    Difference(
        "Errors are those of masked pixels over all 100 frames of a clip, without padding.",
        "Visible pixels are given to the model, a window spans only a part of a clip, and most TinyVIRAT clips are padded.",
    ),
    Difference(
        "Every result has a 95% interval, and trivial controls beside it.",
        "A difference of 0.0005 between two means says nothing without an interval.",
    ),
    Difference(
        "Stage 1 starts from `stage1.weights`, else from this project's own autoencoder.",
        "The weights of MAE-ST's ViT-L are no part of the project.",
    ),
    Difference(
        "Mixup, label smoothing and dropout of Table 1 are not applied in stage 1.",
        "They act on a classifier's labels and head, which a reconstruction does not have.",
    ),
    Difference(
        "518 classes are Kinetics' 400 and the 118 most frequent sets of TinyVIRAT labels.",
        "The paper does not explain its number: Kinetics has 400 classes, TinyVIRAT 26 labels.",
    ),
    Difference(
        "Top-1 and top-5 of stage 2 are about a clip's first label, beside those of any label; F1 is about all labels.",
        "TinyVIRAT is multi-label, and the paper does not say which label counts.",
    ),
    Difference(
        "Stage 2 is validated on 5% of the training clips (`stage2.validation`).",
        "Test clips choose nothing. The paper does not state its validation clips.",
    ),
    Difference(
        "Shifted Patch Tokenization sets masked patches to zero before it shifts them.",
        "A shifted copy would carry masked neighbours into visible tokens.",
    ),
    Difference(
        "Stage 3 has an external memory, as the network of Santoro et al. 2016; an LSTM is the control without one.",
        "The paper names that network and publishes no numbers.",
    ),
)
SAMPLE_DIFFERENCE = Difference(
    "The clips are drawings, and models and schedules are small.",
    "The sample corpus shows on two CPU cores that every stage runs and learns. `make dataset CORPUS=full` makes the "
    "paper's dataset; the `sample:` blocks of params.yaml then do not apply.",
)
