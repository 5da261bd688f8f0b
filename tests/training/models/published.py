"""Checkpoints with the keys and shapes of the published ones, of a narrow and shallow model."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from training.models import create_model
from training.models.layouts import Layout

Shapes = dict[str, tuple[int, ...]]
DIM, DEPTH, NARROW, SHALLOW = 48, 2, 24, 1
SMALL = {"dim": DIM, "depth": DEPTH, "heads": 3, "decoder_dim": NARROW, "decoder_depth": SHALLOW, "decoder_heads": 3}


def linear(name: str, out: int, into: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def mae_st_block(stem: str, dim: int) -> Shapes:
    found = norm(f"{stem}.norm1", dim) | norm(f"{stem}.norm2", dim)
    for part in ("q", "k", "v", "proj"):
        found |= linear(f"{stem}.attn.{part}", dim, dim)
    return found | linear(f"{stem}.mlp.fc1", 4 * dim, dim) | linear(f"{stem}.mlp.fc2", dim, 4 * dim)


def videomae_block(stem: str, dim: int) -> Shapes:
    found = norm(f"{stem}.norm1", dim) | norm(f"{stem}.norm2", dim)
    found |= {f"{stem}.attn.q_bias": (dim,), f"{stem}.attn.v_bias": (dim,), f"{stem}.attn.qkv.weight": (3 * dim, dim)}
    found |= linear(f"{stem}.attn.proj", dim, dim)
    return found | linear(f"{stem}.mlp.fc1", 4 * dim, dim) | linear(f"{stem}.mlp.fc2", dim, 4 * dim)


def mae_st_encoder() -> Shapes:
    found = {
        "cls_token": (1, 1, DIM),
        "pos_embed_spatial": (1, 196, DIM),
        "pos_embed_temporal": (1, 8, DIM),
        "pos_embed_class": (1, 1, DIM),
        "patch_embed.proj.weight": (DIM, 3, 2, 16, 16),
        "patch_embed.proj.bias": (DIM,),
    }
    for number in range(DEPTH):
        found |= mae_st_block(f"blocks.{number}", DIM)
    return found | norm("norm", DIM)


def pyslowfast() -> Shapes:
    """The published K400 checkpoint of MAE-ST: its decoder has PySlowFast's names and one joint position table."""
    found = mae_st_encoder() | {"mask_token": (1, 1, NARROW), "decoder_pos_embed": (1, 1569, NARROW)}
    found |= linear("decoder_embed", NARROW, DIM)
    for number in range(SHALLOW):
        found |= mae_st_block(f"pred_head.transforms.0.{number}", NARROW)
    found |= norm(f"pred_head.transforms.0.{SHALLOW}", NARROW)
    return found | linear("pred_head.projections.0", 768, NARROW)


def mae_st() -> Shapes:
    """What facebookresearch/mae_st writes today."""
    found = mae_st_encoder() | {
        "mask_token": (1, 1, NARROW),
        "decoder_cls_token": (1, 1, NARROW),
        "decoder_pos_embed_spatial": (1, 196, NARROW),
        "decoder_pos_embed_temporal": (1, 8, NARROW),
        "decoder_pos_embed_class": (1, 1, NARROW),
    }
    found |= linear("decoder_embed", NARROW, DIM)
    for number in range(SHALLOW):
        found |= mae_st_block(f"decoder_blocks.{number}", NARROW)
    return found | norm("decoder_norm", NARROW) | linear("decoder_pred", 768, NARROW)


def videomae() -> Shapes:
    found = {
        "mask_token": (1, 1, NARROW),
        "encoder.patch_embed.proj.weight": (DIM, 3, 2, 16, 16),
        "encoder.patch_embed.proj.bias": (DIM,),
    }
    for number in range(DEPTH):
        found |= videomae_block(f"encoder.blocks.{number}", DIM)
    found |= norm("encoder.norm", DIM)
    for number in range(SHALLOW):
        found |= videomae_block(f"decoder.blocks.{number}", NARROW)
    found |= norm("decoder.norm", NARROW) | linear("decoder.head", 1536, NARROW)
    return found | linear("encoder_to_decoder", NARROW, DIM, bias=False)


def videomae_finetuned() -> Shapes:
    found = {"patch_embed.proj.weight": (DIM, 3, 2, 16, 16), "patch_embed.proj.bias": (DIM,)}
    for number in range(DEPTH):
        found |= videomae_block(f"blocks.{number}", DIM)
    return found | norm("fc_norm", DIM) | linear("head", 7, DIM)


def mae_st_finetuned() -> Shapes:
    return mae_st_encoder() | linear("head", 7, DIM)


def huggingface(*, old: bool) -> Shapes:
    """The files on Hugging Face's hub; older ones have q_bias and v_bias beside the matrices."""
    found = {
        "mask_token": (1, 1, NARROW),
        "videomae.embeddings.patch_embeddings.projection.weight": (DIM, 3, 2, 16, 16),
        "videomae.embeddings.patch_embeddings.projection.bias": (DIM,),
    }
    stems = [(f"videomae.encoder.layer.{n}", DIM) for n in range(DEPTH)]
    stems += [(f"decoder.decoder_layers.{n}", NARROW) for n in range(SHALLOW)]
    for stem, dim in stems:
        inner = f"{stem}.attention.attention"
        for part in ("query", "key", "value"):
            found |= linear(f"{inner}.{part}", dim, dim, bias=False)
        if old:
            found |= {f"{inner}.q_bias": (dim,), f"{inner}.v_bias": (dim,)}
        else:
            found |= {f"{inner}.query.bias": (dim,), f"{inner}.value.bias": (dim,)}
        found |= linear(f"{stem}.attention.output.dense", dim, dim)
        found |= linear(f"{stem}.intermediate.dense", 4 * dim, dim) | linear(f"{stem}.output.dense", dim, 4 * dim)
        found |= norm(f"{stem}.layernorm_before", dim) | norm(f"{stem}.layernorm_after", dim)
    found |= norm("videomae.layernorm", DIM) | norm("decoder.norm", NARROW) | linear("decoder.head", 1536, NARROW)
    return found | linear("encoder_to_decoder", NARROW, DIM, bias=False)


@dataclass(frozen=True)
class Published:
    """A kind of checkpoint, and the model that it fits."""

    shapes: Callable[[], Shapes]
    layout: Layout
    preset: str
    config: Mapping[str, object] = field(default_factory=dict)
    wrap: Callable[[dict[str, Tensor]], dict[str, object]] = dict  # how the file nests the weights

    def weights(self) -> dict[str, Tensor]:
        """Random weights."""
        generator = Generator().manual_seed(0)
        return {key: torch.randn(shape, generator=generator) * 0.02 for key, shape in self.shapes().items()}

    def model(self, **overrides: object) -> nn.Module:
        return create_model(self.preset, **(SMALL | self.config | overrides))


PUBLISHED = {
    "MAE-ST, published": Published(
        pyslowfast, "mae_st", "mae_st_large", wrap=lambda weights: {"model_state": weights, "epoch": 400}
    ),
    "MAE-ST, today": Published(
        mae_st,
        "mae_st",
        "mae_st_large",
        {"decoder_class_token": "own", "decoder_positions": "separable"},
        lambda weights: {"model": weights, "args": None},
    ),
    "MAE-ST, fine-tuned": Published(
        mae_st_finetuned, "mae_st", "mae_st_large", {"classes": 7}, lambda weights: {"model_state": weights}
    ),
    "VideoMAE": Published(
        videomae, "videomae", "videomae_base", wrap=lambda weights: {"model": weights, "epoch": 1599}
    ),
    "VideoMAE, saved in parallel training": Published(
        videomae,
        "videomae",
        "videomae_base",
        wrap=lambda weights: {"module": {f"module.{key}": value for key, value in weights.items()}},
    ),
    "VideoMAE, fine-tuned": Published(
        videomae_finetuned, "videomae", "videomae_base", {"classes": 7}, lambda weights: {"module": weights}
    ),
    "Hugging Face": Published(functools.partial(huggingface, old=False), "huggingface", "videomae_base"),
    "Hugging Face, older": Published(functools.partial(huggingface, old=True), "huggingface", "videomae_base"),
}
