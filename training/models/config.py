"""The configuration of a video transformer. `presets` has the named ones; any field can be overridden."""

import math
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from training.models.blocks import QKVBias
from training.models.positions import PositionKind
from training.models.targets import TargetKind
from training.models.tubelets import Grid


@dataclass(frozen=True)
class ModelConfig:
    """An encoder with a reconstruction decoder, or with a classification head if `classes` is set.

    Raises:
        ValueError: a field has the wrong type or value, or the fields do not fit together; the message names it.
    """

    num_frames: int
    image_size: int  # pixels, height and width
    tubelet: int  # frames per token
    patch: int  # pixels per token, height and width
    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    bias: QKVBias = "full"
    eps: float = 1e-6  # of layer norms
    head_eps: float | None = None  # of the norm before a head (1e-5 in transformers); null: eps
    tokenizer: Literal["tubelet", "spt"] = "tubelet"
    spt_copies: Literal[5, 7] = 5  # 7: also shifted by one frame, both ways
    spt_zero_masked: bool = True  # False: masked pixels leak into visible tokens; for the ablation
    positions: Literal[PositionKind, "rotary_3d"] = "sincos_3d"  # rotary_3d: within attention (V-JEPA 2)
    class_token: bool = False
    class_position: bool = False  # the class token has a learned position (MAE-ST)
    final_norm: bool = True
    pooled_norm: bool = False  # a norm of the tokens' mean instead (VideoMAE's fc_norm)
    drop_path: float = 0.0  # rate of the last block; linear from 0 at the first
    local_attention: bool = False
    distance_bias: Literal["none", "decoder", "both"] = (
        "none"  # where attention falls with distance (ALiBi in space and time)
    )
    factorised_attention: bool = False  # attention along time, then within each time patch; needs tube masks
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 3
    decoder_positions: Literal[PositionKind, "shared"] = "sincos_3d"  # shared: the encoder's
    decoder_class_token: Literal["encoder", "own"] = "encoder"  # the encoder's, projected, or a learned one
    decoder_bias: bool = True  # of the projection from encoder to decoder width
    decoder_norm: bool = True
    target: TargetKind = "pixels"
    target_frames: int | None = None  # number of predicted frames (MAE-ST: 8 of 16); null: all
    loss: Literal["mse", "l1", "smooth_l1"] = "mse"
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)  # RGB in [0, 1]; videos are standardised by mean and std
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    pretrained_grid: tuple[int, int] | None = None  # (time patches, side) that fixed positions are interpolated from
    classes: int | None = None
    pooling: Literal["mean", "class_token", "temporal"] = "mean"  # temporal: see `TemporalHead`
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(ModelConfig).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), kind))
        sizes = ("dim", "depth", "heads", "decoder_dim", "decoder_depth", "decoder_heads", "classes", "target_frames")
        for name in sizes:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: must be at least 1")
        for name in ("eps", "head_eps"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}: must not be negative")
        for name in ("drop_path", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: must be at least 0 and less than 1")
        if self.dim * self.mlp_ratio < 1 or self.decoder_dim * self.mlp_ratio < 1:
            raise ValueError(f"mlp_ratio is {self.mlp_ratio}: must give at least one hidden unit")
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}: must be positive")
        grid = self.grid  # raises unless the tubelets tile the video
        if self.dim % self.heads:
            raise ValueError(f"heads is {self.heads}: must divide dim, {self.dim}")
        if self.decoder_dim % self.decoder_heads:
            raise ValueError(f"decoder_heads is {self.decoder_heads}: must divide decoder_dim, {self.decoder_dim}")
        for name, positions in (("dim", self.positions), ("decoder_dim", self.decoder_positions)):
            if positions == "sincos_3d" and getattr(self, name) % 2:
                raise ValueError(f"{name} is {getattr(self, name)}: must be even for sincos_3d positions")
        if self.decoder_positions == "shared" and self.decoder_dim != self.dim:
            raise ValueError(f"decoder_dim is {self.decoder_dim}: must equal dim, {self.dim}, for shared positions")
        if self.positions == "rotary_3d":
            self._check_rotary()
        if self.pooled_norm and self.final_norm:
            raise ValueError("final_norm is true: must be false with pooled_norm")
        if self.factorised_attention and self.class_token:
            raise ValueError("class_token is true: must be false with factorised_attention")
        if self.distance_bias != "none":
            for name in ("class_token", "local_attention", "factorised_attention"):
                if getattr(self, name):
                    raise ValueError(f"{name} is true: must be false with distance_bias {self.distance_bias}")
        if self.class_position and not self.class_token:
            raise ValueError("class_position is true: must be false without class_token")
        if self.pooling == "class_token" and not self.class_token:
            raise ValueError("pooling is class_token: must be mean without class_token")
        if self.target_frames is not None and (
            self.target_frames % grid.time_patches or self.target_frames > self.num_frames
        ):
            raise ValueError(
                f"target_frames is {self.target_frames}: must be a multiple of the {grid.time_patches} time patches, "
                f"and at most num_frames, {self.num_frames}"
            )
        if self.pretrained_grid is not None and min(self.pretrained_grid) < 1:
            raise ValueError(f"pretrained_grid is {self.pretrained_grid}: must be at least 1")

    def _check_rotary(self) -> None:
        if self.dim // self.heads < 6 or self.dim // self.heads % 2:
            raise ValueError(
                f"heads is {self.heads}: must give heads of an even number of columns from 6 for rotary_3d"
            )
        for name in ("class_token", "factorised_attention"):
            if getattr(self, name):
                raise ValueError(f"{name} is true: must be false with rotary_3d positions")
        if self.decoder_positions == "shared":
            raise ValueError("decoder_positions is shared: must be the decoder's own with rotary_3d positions")

    @property
    def grid(self) -> Grid:
        """The tubelets of the video."""
        return Grid(self.num_frames, self.image_size, self.tubelet, self.patch)

    @property
    def target_grid(self) -> Grid:
        """The tubelets that the decoder predicts: with `target_frames`, shorter ones at the same places."""
        frames = self.num_frames if self.target_frames is None else self.target_frames
        return Grid(frames, self.image_size, frames // self.grid.time_patches, self.patch)

    @property
    def head_norm_eps(self) -> float:
        """The eps of the norm before a head."""
        return self.eps if self.head_eps is None else self.head_eps


def _checked(name: str, value: Any, kind: Any) -> Any:
    """`value` if it has the type `kind`; lists become tuples, whole numbers floats where the field is one."""
    if get_origin(kind) is UnionType:
        if value is None:
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if (type(value), value) in [(type(option), option) for option in allowed]:
            return value
        raise ValueError(f"{name} is {value!r}: must be one of {', '.join(map(str, allowed))}")
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if isinstance(value, list | tuple) and len(value) == len(items):
            return tuple(_checked(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(value, items, strict=True)))
        raise ValueError(f"{name} is {value!r}: must be {len(items)} numbers")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or not finite:
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        raise ValueError(f"{name} is {value!r}: must be {names[kind]}")
    return value
