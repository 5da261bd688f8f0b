"""Class names as vectors: hashed n-grams, or a sentence encoder."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.clips import Clip
from training.fewshot.episodes import Episodes
from training.fewshot.sentences import encode_sentences, sentence_values
from training.params import ClassText

_PARTS = re.compile(r"[,;+/|]")  # a class that is a set of labels is named by all of them
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class ClassNames:
    """Vectors of the names of clips' classes, for heads that are told them.

    Args:
        vectors: of each class, (C, D).
        numbers: row of each clip's class, (N,).
    """

    vectors: Tensor
    numbers: Tensor

    def of(self, episodes: Episodes) -> Tensor:
        """Vectors of the classes of episodes of these clips, in the order of their labels: (B, way, D)."""
        return self.vectors[episodes.by_label(self.numbers)]

    def of_classes(self, clips: Tensor, classes: Tensor) -> Tensor:
        """Vectors of some classes, (C, D), from positions of clips of them (n,) and their classes (n,), from 0 to C - 1."""
        found = torch.empty(int(classes.max()) + 1, self.vectors.shape[1])
        found[classes] = self.vectors[self.numbers[clips]]
        return found


def class_names(rows: Sequence[Clip], settings: ClassText) -> ClassNames:
    """The names of the classes of clips; classes are in ascending order of their ids.

    Raises:
        WorkError: the sentence encoder cannot be loaded.
    """
    names = {clip.class_id: clip.class_name for clip in rows}
    numbers = {class_id: number for number, class_id in enumerate(sorted(names))}
    vectors = name_vectors([names[class_id] for class_id in numbers], settings)
    return ClassNames(vectors, torch.tensor([numbers[clip.class_id] for clip in rows]))


def name_vectors(names: Sequence[str], settings: ClassText) -> Tensor:
    """Vectors of names, (N, D), of unit length, or zero for a name without letters and digits.

    Raises:
        WorkError: the sentence encoder cannot be loaded.
    """
    if settings.encoder is None:
        low, high = settings.ngrams
        vectors = torch.stack([hashed_ngrams(name, low, high, settings.words, settings.buckets) for name in names])
    else:
        vectors = encode_sentences(names, settings.encoder)
    return F.normalize(vectors, dim=1)


def vector_length(settings: ClassText) -> int:
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
