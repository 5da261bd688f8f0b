"""How runs read clips and compute their steps."""

from dataclasses import dataclass
from typing import Literal

from common.params import Positive

Storage = Literal["auto", "memory", "decode", "stream"]
Compile = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Loader:
    """How clips are read.

    Args:
        storage: `memory`, `decode` (by offset, when they are needed) or `stream` (shard by shard); `auto` chooses by free
            memory and by where the shards are.
        shuffle: clips in the shuffle buffer.
        shards: folder or fsspec URL below which the shards are read; None: the project folder.
    """

    storage: Storage
    shuffle: Positive
    shards: str | None = None


@dataclass(frozen=True)
class Train:
    """How runs compute their steps.

    Args:
        compile: torch.compile of the steps; `auto`: on a GPU.
    """

    compile: Compile
