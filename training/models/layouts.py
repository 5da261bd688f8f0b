"""Layouts of published checkpoints, and the renaming of their keys to and from ours.

Supported are MAE-ST (facebookresearch/mae_st, and PySlowFast's names for its decoder), VideoMAE and VideoMAE V2
(MCG-NJU/VideoMAE, OpenGVLab/VideoMAEv2) and Hugging Face (`transformers`' VideoMAE), each pre-trained and fine-tuned; and the
encoder of V-JEPA 2 (facebookresearch/vjepa2, and `transformers`' VJEPA2Model).
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from training.models.config import ModelConfig
from training.models.positions import sinusoid_1d

Layout = Literal["own", "huggingface", "videomae", "mae_st", "vjepa2", "vjepa2_huggingface"]
# V-JEPA 2's files have an encoder and its moving average, the target encoder; `transformers`' weights are the encoder's.
_WRAPPERS = ("model_state", "state_dict", "model", "module", "encoder", "target_encoder")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
_MAX_NESTING = 4

# Names inside a transformer block: theirs -> ours. attn.q, attn.k and attn.v are then fused into attn.qkv.
_COMMON_BLOCK = {name: name for name in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
_BLOCK = {
    "videomae": _COMMON_BLOCK | {name: name for name in ("attn.qkv", "attn.q_bias", "attn.v_bias")},
    "huggingface": {
        "layernorm_before": "norm1",
        "attention.attention.query": "attn.q",
        "attention.attention.key": "attn.k",
        "attention.attention.value": "attn.v",
        "attention.attention.q_bias": "attn.q.bias",
        "attention.attention.v_bias": "attn.v.bias",
        "attention.output.dense": "attn.proj",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    },
    "mae_st": _COMMON_BLOCK | {name: name for name in ("attn.q", "attn.k", "attn.v")},
    "vjepa2": _COMMON_BLOCK | {"attn.qkv": "attn.qkv"},
    "vjepa2_huggingface": {
        "norm1": "norm1",
        "attention.query": "attn.q",
        "attention.key": "attn.k",
        "attention.value": "attn.v",
        "attention.proj": "attn.proj",
        "norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    },
}
# Prefixes of blocks, as patterns with the block's number, and names outside of blocks: theirs -> ours.
_BLOCK_PREFIXES = {
    "huggingface": {
        r"videomae\.encoder\.layer\.(\d+)\.": "encoder.blocks.",
        r"decoder\.decoder_layers\.(\d+)\.": "decoder.blocks.",
    },
    "videomae": {r"(?:encoder\.)?blocks\.(\d+)\.": "encoder.blocks.", r"decoder\.blocks\.(\d+)\.": "decoder.blocks."},
    "mae_st": {
        r"blocks\.(\d+)\.": "encoder.blocks.",
        r"decoder_blocks\.(\d+)\.": "decoder.blocks.",
        r"pred_head\.transforms\.0\.(\d+)\.": "decoder.blocks.",
    },
    "vjepa2": {r"blocks\.(\d+)\.": "encoder.blocks."},
    "vjepa2_huggingface": {r"(?:vjepa2\.)?encoder\.layer\.(\d+)\.": "encoder.blocks."},
}
_OUTSIDE_BLOCKS = {
    "huggingface": {
        "videomae.embeddings.patch_embeddings.projection": "encoder.embed.proj",
        "videomae.layernorm": "encoder.norm",
        "encoder_to_decoder": "decoder.embed",
        "mask_token": "decoder.mask_token",
        "decoder.norm": "decoder.norm",
        "decoder.head": "decoder.head",
        "fc_norm": "norm",
        "classifier": "head",
    },
    "videomae": {
        "encoder.patch_embed.proj": "encoder.embed.proj",
        "encoder.norm": "encoder.norm",
        "encoder_to_decoder": "decoder.embed",
        "mask_token": "decoder.mask_token",
        "decoder.norm": "decoder.norm",
        "decoder.head": "decoder.head",
        "patch_embed.proj": "encoder.embed.proj",
        "fc_norm": "norm",
        "head": "head",
    },
    "mae_st": {
        "patch_embed.proj": "encoder.embed.proj",
        "cls_token": "encoder.class_token",
        "pos_embed_class": "encoder.class_position",
        "pos_embed_spatial": "encoder.positions.space",
        "pos_embed_temporal": "encoder.positions.time",
        "norm": "encoder.norm",
        "decoder_embed": "decoder.embed",
        "mask_token": "decoder.mask_token",
        "decoder_cls_token": "decoder.class_token",
        "decoder_pos_embed": "decoder.positions.table",
        "decoder_pos_embed_spatial": "decoder.positions.space",
        "decoder_pos_embed_temporal": "decoder.positions.time",
        "decoder_pos_embed_class": "decoder.class_position",
        "decoder_norm": "decoder.norm",
        "decoder_pred": "decoder.head",
        "pred_head.projections.0": "decoder.head",
        "head": "head",
    },
    "vjepa2": {"patch_embed.proj": "encoder.embed.proj", "norm": "encoder.norm"},
    "vjepa2_huggingface": {
        "encoder.embeddings.patch_embeddings.proj": "encoder.embed.proj",
        "encoder.layernorm": "encoder.norm",
        "vjepa2.encoder.embeddings.patch_embeddings.proj": "encoder.embed.proj",
        "vjepa2.encoder.layernorm": "encoder.norm",
    },
}
# Keys, or prefixes that end with a dot, of weights that are not loaded, and the reason.
LEFT_OUT: dict[Layout, dict[str, str]] = {
    "vjepa2": {"pos_embed": "a table from before positions were rotary; the published code ignores it"},
    "vjepa2_huggingface": {
        "predictor.": "predicts latents of masked tokens, for pre-training only",
        "vjepa2.predictor.": "predicts latents of masked tokens, for pre-training only",
        "pooler.": "attentive pooling of a classifier of other classes",
        "classifier.": "the head of a classifier of other classes",
    },
}


def extract_state_dict(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights in a checkpoint's (nested) content, without the key prefixes of parallel or compiled training.

    Empty if there are no weights.
    """
    for _ in range(_MAX_NESTING):
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if state:
            break
        content = next((inner for key in _WRAPPERS if isinstance(inner := content.get(key), Mapping)), {})
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def detect(state: Mapping[str, Tensor]) -> Layout | None:
    """The layout of a state dict, by its keys; None if it is not a supported one."""
    if "encoder.embed.proj.weight" in state:
        return "own"
    if any(key.startswith("videomae.") for key in state):
        return "huggingface"
    if "blocks.0.attn.q.weight" in state:
        return "mae_st"
    if any(f"{prefix}encoder.layer.0.attention.query.weight" in state for prefix in ("", "vjepa2.")):
        return "vjepa2_huggingface"
    if "blocks.0.attn.qkv.bias" in state:  # VideoMAE has q_bias and v_bias instead
        return "vjepa2"
    if "blocks.0.attn.qkv.weight" in state or "encoder.blocks.0.attn.qkv.weight" in state:
        return "videomae"
    return None


def to_own(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """A state dict of `layout` with our keys and shapes. Keys that the layout does not have stay as they are.

    Dropped are the keys in `LEFT_OUT` and saved tables of VideoMAE's fixed positions, which the model computes.
    """
    if layout == "own":
        return dict(state)
    state = {key: value for key, value in state.items() if not _is_left_out(key, value, layout)}
    renamed = {_rename(key, layout, state): value for key, value in state.items()}
    if layout == "mae_st" and "decoder.norm.weight" not in renamed:
        renamed = _rename_decoder_norm(renamed)
    if "decoder.positions.table" in renamed:
        _split_class_position(renamed)
    return {key: _reshape(key, value) for key, value in fuse_qkv(renamed).items()}


def to_huggingface(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """A state dict of ours with the keys and shapes of `transformers`' VideoMAE.

    Raises:
        ValueError: `transformers`' VideoMAE has no equivalent of the model.
    """
    _check_huggingface(config)
    block = {ours: theirs for theirs, ours in _BLOCK["huggingface"].items() if not theirs.endswith("_bias")}
    outside = {ours: theirs for theirs, ours in _OUTSIDE_BLOCKS["huggingface"].items()}
    renamed: dict[str, Tensor] = {}
    for key, value in split_qkv(state).items():
        inside = re.fullmatch(r"(encoder|decoder)\.blocks\.(\d+)\.(.+)\.(weight|bias)", key)
        if inside and inside[3] in block:
            prefix = "videomae.encoder.layer" if inside[1] == "encoder" else "decoder.decoder_layers"
            renamed[f"{prefix}.{inside[2]}.{block[inside[3]]}.{inside[4]}"] = value
            continue
        name, _, kind = key.rpartition(".")
        if key == "decoder.mask_token":
            renamed["mask_token"] = value.view(1, 1, -1)
        elif name in outside:
            renamed[f"{outside[name]}.{kind}"] = value
        else:
            raise ValueError(f"transformers' VideoMAE has no equivalent of the weight {key}")
    kernel = (config.tubelet, config.patch, config.patch, 3)
    weight = renamed["videomae.embeddings.patch_embeddings.projection.weight"]
    convolution = torch.unflatten(weight, 1, kernel).permute(0, 4, 1, 2, 3).contiguous()
    return renamed | {"videomae.embeddings.patch_embeddings.projection.weight": convolution}


def _check_huggingface(config: ModelConfig) -> None:
    required: dict[str, tuple[object, ...]] = {
        "tokenizer": ("tubelet",),
        "positions": ("sincos_1d",),
        "pretrained_grid": (None,),
        "bias": ("none", "no_key"),
        "class_token": (False,),
        "local_attention": (False,),
        "factorised_attention": (False,),
    }
    if config.classes is None:
        required |= {"final_norm": (True,), "target_frames": (None,), "decoder_positions": ("sincos_1d",)}
        required |= {"decoder_bias": (False,), "decoder_norm": (True,)}
    errors = [
        f"{name} is {getattr(config, name)}, must be {' or '.join(map(str, allowed))}"
        for name, allowed in required.items()
        if getattr(config, name) not in allowed
    ]
    if errors:
        raise ValueError(f"transformers' VideoMAE has no equivalent of the model: {'; '.join(errors)}")


def huggingface_config(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of `transformers` for a model that `to_huggingface` accepts."""
    kind = "VideoMAEForPreTraining" if config.classes is None else "VideoMAEForVideoClassification"
    labels = {} if config.classes is None else {"id2label": {str(n): f"LABEL_{n}" for n in range(config.classes)}}
    return labels | {
        "architectures": [kind],
        "model_type": "videomae",
        "image_size": config.image_size,
        "patch_size": config.patch,
        "num_frames": config.num_frames,
        "tubelet_size": config.tubelet,
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": int(config.dim * config.mlp_ratio),
        "layer_norm_eps": config.eps,
        "qkv_bias": config.bias != "none",
        "qv_bias": config.bias != "none",
        "use_mean_pooling": config.classes is not None,
        "decoder_hidden_size": config.decoder_dim,
        "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder_heads,
        "decoder_intermediate_size": int(config.decoder_dim * config.mlp_ratio),
        "norm_pix_loss": config.target == "per_channel",
    }


def fuse_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Separate query, key and value as one `attn.qkv`; without a key bias, the others become `attn.q_bias` and `attn.v_bias`."""
    fused: dict[str, Tensor] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.+\.attn)\.([qkv])\.(weight|bias)", key)
        if match is None:
            fused[key] = value
            continue
        stem, letter, kind = match.groups()
        parts = [state[name] for name in (f"{stem}.{part}.{kind}" for part in "qkv") if name in state]
        if len(parts) == 3 and value.dim() and {part.shape for part in parts} == {value.shape}:
            fused[f"{stem}.qkv.{kind}"] = torch.cat(parts)
        elif kind == "bias" and f"{stem}.k.bias" not in state:
            fused[f"{stem}.{letter}_bias"] = value
        else:
            fused[key] = value
    return fused


def split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `fuse_qkv`."""
    split: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                split[key.replace(".qkv.", f".{letter}.")] = third.contiguous()
        elif key.endswith(("attn.q_bias", "attn.v_bias")):
            split[f"{key.removesuffix('_bias')}.bias"] = value
        else:
            split[key] = value
    return split


def _is_left_out(key: str, value: Tensor, layout: Layout) -> bool:
    if layout == "videomae" and key in ("pos_embed", "encoder.pos_embed"):
        table = _rows(value)  # a learned table stays, and is an unexpected key
        return table.dim() == 2 and torch.allclose(table.float(), sinusoid_1d(*table.shape), atol=1e-3)
    return any(key == name or (name.endswith(".") and key.startswith(name)) for name in LEFT_OUT.get(layout, ()))


def _rename(key: str, layout: Layout, state: Mapping[str, Tensor]) -> str:
    for pattern, prefix in _BLOCK_PREFIXES[layout].items():
        match = re.match(pattern, key)
        if match:
            inside = key[match.end() :]
            for theirs, ours in _BLOCK[layout].items():
                if inside == theirs or inside.startswith(f"{theirs}."):
                    return f"{prefix}{match[1]}.{ours}{inside.removeprefix(theirs)}"
            return f"{prefix}{match[1]}.{inside}"
    if layout == "mae_st" and key.startswith("head.projection."):
        return key.replace("head.projection.", "head.")
    name, _, kind = key.rpartition(".")
    if kind in ("weight", "bias") and name in _OUTSIDE_BLOCKS[layout]:
        # A fine-tuned MAE-ST classifier normalises the pooled token; its encoder has no norm of its own.
        if layout == "mae_st" and name == "norm" and not {"head.weight", "head.projection.weight"}.isdisjoint(state):
            return f"norm.{kind}"
        return f"{_OUTSIDE_BLOCKS[layout][name]}.{kind}"
    return _OUTSIDE_BLOCKS[layout].get(key, key)


def _rename_decoder_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PySlowFast numbers the decoder's norm as the last of its blocks."""
    return {re.sub(r"^decoder\.blocks\.\d+\.(weight|bias)$", r"decoder.norm.\1", key): state[key] for key in state}


def _split_class_position(state: dict[str, Tensor]) -> None:
    """Split off the first row of the decoder's joint table, the class token's, if there is a class token."""
    table = _rows(state["decoder.positions.table"])
    if "encoder.class_token" in state and table.dim() == 2 and len(table):
        state["decoder.class_position"], table = table[0], table[1:]
    state["decoder.positions.table"] = table


def _reshape(key: str, value: Tensor) -> Tensor:
    """`value` with our shape for `key`: linear instead of convolution, no leading dimensions of 1."""
    if key == "encoder.embed.proj.weight" and value.dim() == 5:  # out, colour, frame, row, column
        return value.permute(0, 2, 3, 4, 1).flatten(1)
    if key.endswith(("class_token", "mask_token", "class_position")):
        return value.flatten()
    if key.endswith(("positions.space", "positions.time", "positions.table")):
        return _rows(value)
    return value


def _rows(table: Tensor) -> Tensor:
    """(..., D) -> (rows, D); a vector stays one, so that loading finds its shape wrong."""
    return table.flatten(0, -2) if table.dim() > 1 else table
