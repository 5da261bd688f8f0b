"""Mixup (Zhang et al., arXiv 1710.09412), CutMix (Yun et al., arXiv 1905.04899) and label smoothing by timm's definitions.

timm's own Mixup cuts a clip's time and height instead of its height and width, and reads its draws on the host.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from timm.data.mixup import mixup_target
from torch import Generator, Tensor

from training.data.augment.erasing import inside_boxes


class MixDraws(NamedTuple):
    """How each clip is mixed with its partner, the clip at its position from the end of the batch."""

    share: Tensor  # (B,) float64, of the clip itself; 1 = not mixed
    cutmix: Tensor  # (B,) bool; False = mixup
    boxes: Tensor  # (B, 4) int64, of the partner's pixels: top, left, height, width


@dataclass(frozen=True)
class Mixup:
    """Clips mixed in pairs, and their targets with them.

    Args:
        classes: C.
        mixup_alpha: of the Beta distribution of a mixup's shares; 0 = no mixup.
        cutmix_alpha: of the Beta distribution of a CutMix's shares; 0 = no CutMix.
        probability: of mixing.
        switch_probability: of CutMix where both are on.
        mode: "batch" draws once per batch, "pair" once per pair of clips, "elem" once per clip.
        correct_share: a CutMix's share is that of the pixels where the frame's border cuts the box.
        label_smoothing: probability that is spread over all classes; with `multi_label` each target moves towards 0.5.
        multi_label: targets are (B, C) instead of class numbers (B,).

    Raises:
        ValueError: both alphas are 0 although `probability` is not.
    """

    classes: int
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    probability: float = 1.0
    switch_probability: float = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"
    correct_share: bool = True
    label_smoothing: float = 0.1
    multi_label: bool = False

    def __post_init__(self) -> None:
        if self.probability and not (self.mixup_alpha or self.cutmix_alpha):
            raise ValueError("mixup_alpha and cutmix_alpha are 0: one must be above 0, or probability 0")

    def __call__(self, video: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """`apply` with new draws."""
        return self.apply(video, target, self.draw(video.shape, generator))

    def draw(self, shape: torch.Size, generator: Generator) -> MixDraws:
        """Parameters for a video of `shape` (B, 3, T, H, W), on the generator's device.

        Raises:
            ValueError: an odd batch in pairs.
        """
        batch, height, width = shape[0], shape[3], shape[4]
        if self.mode == "pair" and batch % 2:
            raise ValueError(f"a batch of {batch} clips: must be even to be mixed in pairs")
        rows = {"batch": 1, "pair": batch // 2, "elem": batch}[self.mode]
        uniform = torch.rand((4, rows), generator=generator, device=generator.device, dtype=torch.float64)
        cutmix = uniform[1] < self._cutmix_probability
        share = torch.where(cutmix, _beta(self.cutmix_alpha, rows, generator), _beta(self.mixup_alpha, rows, generator))
        share = torch.where(uniform[0] < self.probability, share, 1.0)
        draws = self.boxes(share, cutmix, uniform[2:], height, width)
        if self.mode == "batch":
            return MixDraws(*(values.expand(batch, *values.shape[1:]) for values in draws))
        if self.mode == "pair":
            return MixDraws(*(torch.cat([values, values.flip(0)]) for values in draws))
        return draws

    def boxes(self, share: Tensor, cutmix: Tensor, centre: Tensor, height: int, width: int) -> MixDraws:
        """The parameters with a CutMix's boxes, and its shares corrected.

        Args:
            share: (R,) float64, of the clip itself.
            cutmix: (R,) bool.
            centre: (2, R) uniform random numbers in [0, 1), for the centre's row and column.
            height: of the frames, pixels.
            width: of the frames, pixels.
        """
        edges = []
        for uniform, length in zip(centre, (height, width), strict=True):
            middle, side = (uniform * length).floor(), (length * (1 - share).sqrt()).floor()
            start = (middle - (side / 2).floor()).clamp(0, length)
            edges.append((start, (middle + ((side + 1) / 2).floor()).clamp(0, length) - start))
        (top, tall), (left, wide) = edges
        if self.correct_share:
            share = torch.where(cutmix & (share < 1), 1 - tall * wide / (height * width), share)
        return MixDraws(share, cutmix, torch.stack([top, left, tall, wide], 1).long())

    def apply(self, video: Tensor, target: Tensor, draws: MixDraws) -> tuple[Tensor, Tensor]:
        """The mixed video and its targets; a pure function.

        Args:
            video: (B, 3, T, H, W) float.
            target: (B,) class numbers, or (B, C) 0 and 1 with `multi_label`.
            draws: of this video's shape.

        Returns:
            The video in the same shape, and (B, C) float32 targets.
        """
        outside = ~inside_boxes(draws.boxes, *video.shape[3:])
        own = torch.where(draws.cutmix[:, None, None], outside, draws.share[:, None, None])  # (B, H, W), of each pixel
        own = own.to(video.dtype)[:, None, None]
        mixed = video * own + video.flip(0) * (1 - own)
        weight = draws.share.float()[:, None]
        targets: Tensor = mixup_target(  # type: ignore[no-untyped-call]
            target, self.classes, weight, self.label_smoothing, self.multi_label
        )
        return mixed, targets

    def smooth(self, target: Tensor) -> Tensor:
        """The targets of clips that are not mixed: `target` as for `apply` -> (B, C) float32."""
        targets: Tensor = mixup_target(  # type: ignore[no-untyped-call]
            target, self.classes, 1.0, self.label_smoothing, self.multi_label
        )
        return targets

    @property
    def _cutmix_probability(self) -> float:
        if not self.mixup_alpha:
            return 1.0
        return self.switch_probability if self.cutmix_alpha else 0.0


def _beta(alpha: float, rows: int, generator: Generator) -> Tensor:
    """Draws from Beta(alpha, alpha), (rows,) float64; ones if alpha is 0."""
    concentration = torch.full((rows, 2), alpha or 1.0, dtype=torch.float64, device=generator.device)
    # torch.distributions.Beta draws by the same function, but takes no generator.
    drawn: Tensor = torch._sample_dirichlet(concentration, generator)  # noqa: SLF001
    return drawn[:, 0]
