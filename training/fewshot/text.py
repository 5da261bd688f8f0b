"""Class names as vectors: hashed n-grams, or a sentence encoder."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from training.fewshot.sentences import encode_sentences, sentence_values
from training.params import Text

_PARTS = re.compile(r"[,;+/|]")  # a class that is a set of labels is named by all of them
_WORDS = re.compile(r"[^\W_]+")


def name_vectors(names: Sequence[str], settings: Text) -> Tensor:
    """Vectors of unit length, (N, D), the same for equal names.

    Raises:
        WorkError: the sentence encoder cannot be loaded.
    """
    unique = sorted(set(names))
    if settings.encoder is None:
        low, high = settings.ngrams
        vectors = torch.stack([hashed_ngrams(name, low, high, settings.words, settings.buckets) for name in unique])
    else:
        vectors = encode_sentences(unique, settings.encoder)
    positions = {name: position for position, name in enumerate(unique)}
    return F.normalize(vectors, dim=1)[[positions[name] for name in names]]


def vector_length(settings: Text) -> int:
    """Values of the vectors of `name_vectors`, D; raises as it does."""
    return settings.buckets if settings.encoder is None else sentence_values(settings.encoder)


def hashed_ngrams(name: str, low: int, high: int, words: int, buckets: int) -> Tensor:
    """Counts of a name's n-grams, each added to or subtracted from one of the buckets, (buckets,).

    The n-grams are fastText's (Bojanowski et al. 2017, arXiv 1607.04606; Joulin et al. 2017, arXiv 1607.01759). Which bucket an
    n-gram belongs to, and its sign, are given by its hash, so that vectors of different n-grams are orthogonal on average
    (Weinberger et al. 2009, arXiv 0902.2206). A linear map of the vector is fastText's sum of trained n-gram vectors.

    Args:
        name: of a class.
        low: least characters of an n-gram within a word, `<` before and `>` behind it included.
        high: most characters.
        words: most words in a row that count as one n-gram; they are of the same part of a name (parts end at `,` or `+`).
        buckets: length of the vector.
    """
    counts = [0.0] * buckets
    for ngram in ngrams(name, low, high, words):
        number = int.from_bytes(hashlib.blake2b(ngram.encode(), digest_size=8).digest(), "big")
        counts[(number >> 1) % buckets] += math.copysign(1.0, 0.5 - (number & 1))
    return torch.tensor(counts)


def ngrams(name: str, low: int, high: int, words: int) -> Iterator[str]:
    """The n-grams of a name, repeated ones too; see `hashed_ngrams`."""
    for part in _PARTS.split(name.casefold()):
        found = _WORDS.findall(part)
        for word in found:
            bounded = f"<{word}>"
            for length in range(low, high + 1):
                for start in range(len(bounded) - length + 1):
                    yield bounded[start : start + length]
        for length in range(1, words + 1):
            for start in range(len(found) - length + 1):
                yield " ".join(["", *found[start : start + length]])  # the blank tells a word from characters
