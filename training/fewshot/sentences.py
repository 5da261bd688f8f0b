"""Sentences as vectors, by a sentence encoder in the layout of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH, _TOKENS = 32, 128
_POOLING = "1_Pooling/config.json"  # in the folders of sentence-transformers
_UNUSED = "pooler."  # BERT's layer for the next sentence


@torch.no_grad()
def encode_sentences(sentences: Sequence[str], path: str) -> Tensor:
    """Vectors of sentences, (N, D): the mean of their tokens, or the first token where the folder of the encoder says so.

    Args:
        sentences: what is past their first 128 tokens is left out.
        path: a folder written by `transformers` or `sentence-transformers`, or a name on the Hugging Face hub, whose files
            `transformers` downloads once.

    Raises:
        WorkError: `transformers` is not installed; or the encoder cannot be read, or its weights lack something or hold
            something unexpected.
    """
    tokeniser, model = _load(path)
    pooling = _pooling(path)
    found = []
    for start in tqdm(range(0, len(sentences), _BATCH), desc="encode class names", unit="batch", disable=None):
        batch = list(sentences[start : start + _BATCH])
        inputs = tokeniser(batch, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        tokens = model(**inputs).last_hidden_state
        known = inputs["attention_mask"].unsqueeze(2).to(tokens.dtype)
        found.append(tokens[:, 0] if pooling == "first" else (tokens * known).sum(1) / known.sum(1))
    return torch.cat(found).float()


def sentence_values(path: str) -> int:
    """Values of the vectors of `encode_sentences`, D; raises as it does."""
    values: int = _transformers(path, lambda package: package.AutoConfig.from_pretrained(path).hidden_size)
    return values


def _load(path: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokeniser = _transformers(path, lambda package: package.AutoTokenizer.from_pretrained(path))
    model, report = _transformers(
        path,
        lambda package: package.AutoModel.from_pretrained(path, use_safetensors=True, output_loading_info=True),
    )
    _check(report, path)
    return tokeniser, model.float().eval()


def _transformers(path: str, read: Callable[[Any], Any]) -> Any:
    """What `read` returns for the package `transformers`, which is not on every training machine."""
    try:
        import transformers
    except ImportError:
        raise WorkError(
            f"stage3.text.encoder is {path}: it needs the package transformers: install it, or set null"
        ) from None
    try:
        return read(transformers)
    except Exception as error:  # noqa: BLE001 (transformers, tokenizers, safetensors and requests have errors of their own)
        raise WorkError(f"stage3.text.encoder is {path}: {_one_line(error)}") from None


def _check(report: dict[str, Any], path: str) -> None:
    """Raises WorkError unless every weight was found and used, the pooler's apart, which is not computed."""
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report.get(kind, ()) if not str(key).startswith(_UNUSED))
        if keys:
            raise WorkError(
                f"stage3.text.encoder is {path}: its weights have {kind.replace('_', ' ')}: {', '.join(keys)}"
            )


def _pooling(path: str) -> Literal["mean", "first"]:
    file = Path(path) / _POOLING
    if not file.is_file():
        return "mean"
    try:
        return "first" if json.loads(file.read_bytes()).get("pooling_mode_cls_token") else "mean"
    except (ValueError, AttributeError):
        raise WorkError(f"{file} is not as sentence-transformers writes it") from None


def _one_line(error: Exception) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__
