"""What a video transformer is made of. A preset (see `presets`) fills this in; any field can be overridden."""

from dataclasses import dataclass
from typing import Literal

from training.models.blocks import QKVBias
from training.models.tubelets import Grid


@dataclass(frozen=True)
class ModelConfig:
    """An encoder, and what stands on it: a reconstructing decoder, or a classification head if `classes` is set.

    Raises:
        ValueError: the fields do not fit together.
    """

    num_frames: int
    image_size: int
    tubelet: int
    patch: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: float = 4.0
    bias: QKVBias = "full"
    eps: float = 1e-6
    head_eps: float | None = None  # of the norm before a head (transformers has 1e-5 there); null: eps
    tokenizer: Literal["cubes", "spt"] = "cubes"
    spt_copies: Literal[5, 7] = 5  # 7: shifted by a frame to either side of time as well
    spt_blank: bool = True  # False: masked pixels leak into visible tokens, for the ablation
    positions: Literal["sincos_3d", "sincos_1d", "separable", "joint"] = "sincos_3d"
    class_token: bool = False
    class_position: bool = False  # the class token has a position of its own to learn (MAE-ST)
    final_norm: bool = True
    drop_path: float = 0.0
    local_attention: bool = False
    factorised_attention: bool = False  # each block attends along time, then within each moment; masks must be tubes
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 3
    decoder_positions: Literal["sincos_3d", "sincos_1d", "separable", "joint", "shared"] = "sincos_3d"
    decoder_class: Literal["encoder", "own"] = "encoder"  # what the decoder's class token is, if there is one
    decoder_bias: bool = True  # of the linear layer from encoder to decoder
    decoder_norm: bool = True
    target: Literal["pixels", "per_channel", "per_patch"] = "pixels"
    target_frames: int | None = None  # how many of the frames the decoder predicts (MAE-ST: 8 of 16); null: all
    loss: Literal["mse", "l1", "smooth_l1"] = "mse"
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)  # of the colours, in [0, 1]: how videos are standardised
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    pretrained_grid: tuple[int, int] | None = None  # moments and side that fixed positions are stretched from
    classes: int | None = None
    pooling: Literal["mean", "class_token"] = "mean"
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        _ = self.grid  # the cubes tile the video
        if self.decoder_dim % self.decoder_heads:
            raise ValueError(f"decoder_dim {self.decoder_dim} does not split into {self.decoder_heads} heads")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not split into {self.heads} heads")
        if self.decoder_positions == "shared" and self.decoder_dim != self.dim:
            raise ValueError(f"shared positions need decoder_dim {self.decoder_dim} equal to dim {self.dim}")
        if self.factorised_attention and self.class_token:
            raise ValueError("factorised_attention has no place for a class token: class_token must be false")
        if self.pooling == "class_token" and not self.class_token:
            raise ValueError("pooling by class_token needs class_token: true")
        if self.target_frames is not None and self.target_frames % self.grid.times:
            raise ValueError(f"target_frames {self.target_frames} is no multiple of {self.grid.times} moments")

    @property
    def last_eps(self) -> float:
        """The eps of the norm before a head."""
        return self.eps if self.head_eps is None else self.head_eps

    @property
    def grid(self) -> Grid:
        """How the video is cut into tokens."""
        return Grid(self.num_frames, self.image_size, self.tubelet, self.patch)

    @property
    def target_tubelet(self) -> int:
        """Frames of a cube that the decoder predicts."""
        return self.tubelet if self.target_frames is None else self.target_frames // self.grid.times
