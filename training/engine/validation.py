"""Validation clips: a fixed share of the training classes' clips, and the errors of autoencoders on them."""

import hashlib
from collections.abc import Callable, Sequence

from training.clips import Clip
from training.data.windows import ClipWindows
from training.engine.reconstruction import masked_errors
from training.models import MAE
from training.models.masking import Masking


def carve(rows: Sequence[Clip], share: float, seed: int) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Clips to train on, and `share` of the clips held out from training, both in the order of `rows`.

    A clip's place depends on the seed and its id, so clips that are added move few others. At least one clip is held out
    unless `share` is 0, and at least one is left.
    """
    count = min(max(1, round(share * len(rows))), len(rows) - 1) if share and rows else 0
    by_digest = sorted(rows, key=lambda clip: hashlib.sha256(f"{seed}/{clip.clip_id}".encode()).digest())
    held = {clip.clip_id for clip in by_digest[:count]}
    return (
        tuple(clip for clip in rows if clip.clip_id not in held),
        tuple(clip for clip in rows if clip.clip_id in held),
    )


def reconstruction_validation(
    model: MAE, data: ClipWindows, masking: Masking, seed: int
) -> Callable[[], dict[str, float]]:
    """`Task.validate` of an autoencoder: as `loss`, the mean masked error of the clips' middle windows, by the same masks."""

    def validate() -> dict[str, float]:
        return {"loss": masked_errors(model, data, masking, seed)["model"][0]}

    return validate
