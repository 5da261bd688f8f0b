"""What a video transformer is made of. A preset (see `presets`) fills this in; any field can be overridden."""

from dataclasses import dataclass
from typing import Literal

from training.models.blocks import QKVBias
from training.models.cubes import Grid


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
    tokenizer: Literal["cubes", "spt"] = "cubes"
    positions: Literal["sincos_3d", "sincos_1d", "separable", "joint"] = "sincos_3d"
    class_token: bool = False
    class_position: bool = False  # the class token has a position of its own to learn (MAE-ST)
    final_norm: bool = True
    drop_path: float = 0.0
    local_attention: bool = False
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 3
    decoder_positions: Literal["sincos_3d", "sincos_1d", "joint", "shared"] = "sincos_3d"
    decoder_bias: bool = True  # of the linear layer from encoder to decoder
    decoder_norm: bool = True
    target: Literal["pixels", "per_channel", "per_patch"] = "pixels"
    target_frames: int | None = None  # how many of the frames the decoder predicts (MAE-ST: 8 of 16); null: all
    classes: int | None = None
    pooling: Literal["mean", "class_token"] = "mean"

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not split into {self.heads} heads")
        if self.decoder_positions == "shared" and self.decoder_dim != self.dim:
            raise ValueError(f"shared positions need decoder_dim {self.decoder_dim} equal to dim {self.dim}")
        if self.pooling == "class_token" and not self.class_token:
            raise ValueError("pooling by class_token needs class_token: true")
        if self.target_frames is not None and self.target_frames % self.grid.times:
            raise ValueError(f"target_frames {self.target_frames} is no multiple of {self.grid.times} moments")

    @property
    def grid(self) -> Grid:
        """How the video is cut into tokens."""
        return Grid(self.num_frames, self.image_size, self.tubelet, self.patch)

    @property
    def target_tubelet(self) -> int:
        """Frames of a cube that the decoder predicts."""
        return self.tubelet if self.target_frames is None else self.target_frames // self.grid.times
