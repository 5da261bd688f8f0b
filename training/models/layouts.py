"""Other people's checkpoints: which layout a file has, and its names in ours.

Known are MAE-ST's (facebookresearch/mae_st, its decoder also under PySlowFast's names), VideoMAE's (MCG-NJU/VideoMAE) and
Hugging Face's (`transformers`), pre-trained and fine-tuned.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from training.models.config import ModelConfig

Layout = Literal["own", "huggingface", "videomae", "mae_st"]
_WRAPPERS = ("model_state", "state_dict", "model", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.")

# Parts of a transformer block under each layout's names.
_BLOCK = {
    "videomae": {
        "norm1": "norm1",
        "attn.qkv": "attn.qkv",
        "attn.q_bias": "attn.q_bias",
        "attn.v_bias": "attn.v_bias",
        "attn.proj": "attn.proj",
        "norm2": "norm2",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    },
    "huggingface": {
        "layernorm_before": "norm1",
        "attention.attention.query": "attn.q",
        "attention.attention.key": "attn.k",
        "attention.attention.value": "attn.v",
        "attention.attention.q_bias": "attn.q.bias",
        "attention.attention.v_bias": "attn.v.bias",
        "attention.output.dense": "attn.proj",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.0",
        "output.dense": "mlp.2",
    },
    "mae_st": {
        "norm1": "norm1",
        "attn.q": "attn.q",
        "attn.k": "attn.k",
        "attn.v": "attn.v",
        "attn.proj": "attn.proj",
        "norm2": "norm2",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    },
}
# Where blocks are, and everything that is not in one.
_BLOCKS = {
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
}
_REST = {
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
}


def unwrap(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The weights in a checkpoint's nest, without what parallel or compiled training puts before their names."""
    while not any(isinstance(value, Tensor) for value in content.values()):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return {}
        content = inner  # type: ignore[assignment]
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def detect(state: Mapping[str, Tensor]) -> Layout | None:
    """Whose names these are; None if nobody's that is known here."""
    if "encoder.embed.proj.weight" in state:
        return "own"
    if any(key.startswith("videomae.") for key in state):
        return "huggingface"
    if "blocks.0.attn.q.weight" in state:
        return "mae_st"
    if "blocks.0.attn.qkv.weight" in state or "encoder.blocks.0.attn.qkv.weight" in state:
        return "videomae"
    return None


def to_own(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The same weights under our names and in our shapes. Names that the layout does not have stay as they are.

    Fixed position tables that some checkpoints hold are dropped: they are worked out.
    """
    if layout == "own":
        return dict(state)
    named = {_rename(key, layout, state): value for key, value in state.items()}
    if layout == "mae_st" and "decoder.norm.weight" not in named:
        named = _last_is_norm(named)
    if "decoder.positions.table" in named:
        _split_joint(named)
    named.pop("encoder.pos_embed", None)
    if layout == "videomae":
        named.pop("pos_embed", None)
    return {key: _shaped(key, value) for key, value in _join(named).items()}


def to_huggingface(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Weights of a VideoMAE of ours under the names of `transformers`.

    Raises:
        ValueError: the model is not one that `transformers`' VideoMAE can be.
    """
    if config.tokenizer != "cubes" or config.class_token or not config.positions.startswith("sincos_1d"):
        raise ValueError("transformers' VideoMAE has neither shifted patches nor a class token nor other positions")
    block = {ours: theirs for theirs, ours in _BLOCK["huggingface"].items() if not theirs.endswith("_bias")}
    rest = {ours: theirs for theirs, ours in _REST["huggingface"].items()}
    found: dict[str, Tensor] = {}
    for key, value in _part(state).items():
        inside = re.fullmatch(r"(encoder|decoder)\.blocks\.(\d+)\.(.+)\.(weight|bias)", key)
        if inside:
            where = "videomae.encoder.layer" if inside[1] == "encoder" else "decoder.decoder_layers"
            found[f"{where}.{inside[2]}.{block[inside[3]]}.{inside[4]}"] = value
            continue
        name, _, kind = key.rpartition(".")
        if key == "decoder.mask_token":
            found["mask_token"] = value.view(1, 1, -1)
        elif name in rest:
            found[f"{rest[name]}.{kind}"] = value
        else:
            raise ValueError(f"{key} has no place in transformers' VideoMAE")
    kernel = (config.tubelet, config.patch, config.patch, 3)
    weight = found["videomae.embeddings.patch_embeddings.projection.weight"]
    conv = weight.unflatten(1, kernel).permute(0, 4, 1, 2, 3).contiguous()
    return found | {"videomae.embeddings.patch_embeddings.projection.weight": conv}


def _rename(key: str, layout: str, state: Mapping[str, Tensor]) -> str:
    for pattern, where in _BLOCKS[layout].items():
        found = re.match(pattern, key)
        if found:
            inside = key[found.end() :]
            for theirs, ours in _BLOCK[layout].items():
                if inside == theirs or inside.startswith(f"{theirs}."):
                    return f"{where}{found[1]}.{ours}{inside.removeprefix(theirs)}"
            return f"{where}{found[1]}.{inside}"
    if layout == "mae_st" and key.startswith("head.projection."):
        return key.replace("head.projection.", "head.")
    name, _, kind = key.rpartition(".")
    if kind in ("weight", "bias") and name in _REST[layout]:
        # A fine-tuned MAE-ST classifier normalises the pooled token; its encoder has no norm of its own.
        if layout == "mae_st" and name == "norm" and not {"head.weight", "head.projection.weight"}.isdisjoint(state):
            return f"norm.{kind}"
        return f"{_REST[layout][name]}.{kind}"
    return _REST[layout].get(key, key)


def _last_is_norm(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PySlowFast keeps the decoder's norm as the last of its blocks."""
    found = {}
    for key, value in named.items():
        norm = re.fullmatch(r"decoder\.blocks\.\d+\.(weight|bias)", key)
        found[f"decoder.norm.{norm[1]}" if norm else key] = value
    return found


def _split_joint(named: dict[str, Tensor]) -> None:
    """A joint table's first row is the class token's, where there is a class token."""
    table = named["decoder.positions.table"].flatten(0, -2)
    if "encoder.class_token" in named:
        named["decoder.class_position"], table = table[0], table[1:]
    named["decoder.positions.table"] = table


def _join(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value in one matrix; their biases in one vector, or VideoMAE's two."""
    found: dict[str, Tensor] = {}
    for key, value in named.items():
        part = re.fullmatch(r"(.+\.attn)\.([qkv])\.(weight|bias)", key)
        if part is None:
            found[key] = value
            continue
        stem, kind = part[1], part[3]
        each = [named.get(f"{stem}.{letter}.{kind}") for letter in "qkv"]
        together = [piece for piece in each if piece is not None]
        if len(together) == 3:
            found[f"{stem}.qkv.{kind}"] = torch.cat(together)
        elif kind == "bias" and each[1] is None:
            found[f"{stem}.{part[2]}_bias"] = value
        else:
            found[key] = value
    return found


def _shaped(key: str, value: Tensor) -> Tensor:
    if key == "encoder.embed.proj.weight" and value.dim() == 5:  # a convolution: colour, frame, row, column
        return value.permute(0, 2, 3, 4, 1).flatten(1)
    if key.endswith(("class_token", "mask_token", "class_position")):
        return value.flatten()
    if key.endswith(("positions.space", "positions.time", "positions.table")):
        return value.flatten(0, -2)
    return value


def _part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value apart again."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".attn.qkv." in key:
            for letter, piece in zip("qkv", value.chunk(3), strict=True):
                found[key.replace(".qkv.", f".{letter}.")] = piece.contiguous()
        elif key.endswith(("attn.q_bias", "attn.v_bias")):
            found[f"{key.removesuffix('_bias')}.bias"] = value
        else:
            found[key] = value
    return found
