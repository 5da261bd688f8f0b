"""Sentences as vectors, by a sentence encoder in the layout of `transformers`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import WorkError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pooling = Literal["mean", "first"]

_BATCH, _TOKENS = 32, 128
_POOLING = "1_Pooling/config.json"  # of sentence-transformers
_MODES: Mapping[str, Pooling] = {
    **{"pooling_mode_mean_tokens": "mean", "mean": "mean"},
    **{"pooling_mode_cls_token": "first", "cls": "first"},
}
_UNUSED = "pooler."  # BERT's layer for the next sentence


@torch.no_grad()
def encode_sentences(sentences: Sequence[str], encoder: str) -> Tensor:
    """Vectors of sentences, (N, D): the mean of their tokens, or the first token where the encoder's folder says so.

    Args:
        sentences: what is past their first 128 tokens is left out.
        encoder: a folder written by `transformers` or `sentence-transformers`, or a name on the Hugging Face hub, whose files
            `transformers` downloads once. Weights are read from safetensors alone.

    Raises:
        ImportError: `transformers` is not installed.
        WorkError: the encoder cannot be read; or its weights lack something, or hold something unexpected.
    """
    tokeniser, model = _load(encoder)
    pooling = _pooling(encoder)
    found = []
    for start in tqdm(range(0, len(sentences), _BATCH), desc="encode class names", unit="batch", disable=None):
        batch = list(sentences[start : start + _BATCH])
        inputs = tokeniser(batch, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        tokens = model(**inputs).last_hidden_state
        known = inputs["attention_mask"].unsqueeze(2).to(tokens.dtype)
        found.append(tokens[:, 0] if pooling == "first" else (tokens * known).sum(1) / known.sum(1))
    return torch.cat(found).float()


def sentence_values(encoder: str) -> int:
    """Values of the vectors of `encode_sentences`, D; raises as it does."""
    import transformers

    values: int = _read(encoder, lambda: transformers.AutoConfig.from_pretrained(encoder).hidden_size)
    return values


def _load(encoder: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    import transformers  # not on every training machine

    tokeniser = _read(encoder, lambda: transformers.AutoTokenizer.from_pretrained(encoder))
    model, report = _read(
        encoder,
        lambda: transformers.AutoModel.from_pretrained(encoder, use_safetensors=True, output_loading_info=True),
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report.get(kind, ()) if not str(key).startswith(_UNUSED))
        if keys:
            raise WorkError(
                f"stage3.text.encoder is {encoder}: its weights have {kind.replace('_', ' ')}: {', '.join(keys)}"
            )
    return tokeniser, model.float().eval()


def _pooling(encoder: str) -> Pooling:
    file = Path(encoder) / _POOLING if Path(encoder).is_dir() else _read(encoder, lambda: _download_pooling(encoder))
    if file is None or not file.is_file():
        return "mean"
    try:
        config = json.loads(file.read_bytes())
        chosen = {key for key, value in config.items() if key.startswith("pooling_mode_") and value}
        (mode,) = chosen or {config["pooling_mode"]}
        return _MODES[mode]
    except (ValueError, AttributeError, KeyError, TypeError):
        raise WorkError(
            f"stage3.text.encoder is {encoder}: its {_POOLING} is not of the mean or the first token"
        ) from None


def _download_pooling(name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, _POOLING))
    except LocalEntryNotFoundError:  # the hub could not be asked
        raise
    except EntryNotFoundError:
        return None


def _read(encoder: str, read: Callable[[], Any]) -> Any:
    """What `read` returns.

    Raises:
        ImportError: a package is not installed.
        WorkError: it has failed.
    """
    try:
        return read()
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 (transformers, tokenizers, safetensors and requests have errors of their own)
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise WorkError(f"stage3.text.encoder is {encoder}: {reason}") from None
