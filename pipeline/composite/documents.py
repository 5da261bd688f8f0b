"""The files beside the shards that describe them: dataset card, index, Croissant and RO-Crate.

They hold no time of their making, no host, no path outside their folder and no credentials: equal clips and params give
equal files anywhere.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.composite import card, crate, croissant
from pipeline.composite.dataset import CARD, CRATE, CROISSANT, INDEX, Dataset, File


def render(dataset: Dataset) -> Mapping[str, bytes]:
    """The content of each file, by its name in the folder of the shards; those of the preview are among them if there is one."""
    digests = {shard.name: shard.sha256 for shard in dataset.shards}
    files = {
        CARD: card.render(
            dataset.rows, digests, dataset.facts, dataset.settings, preview=list(dataset.preview)
        ).encode(),
        INDEX: dataset.index,
        CROISSANT: to_json(croissant.build(dataset)),
        **dataset.preview,
    }
    described = [File(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()]
    return files | {CRATE: to_json(crate.build(dataset, described))}


def to_json(value: Any) -> bytes:
    """JSON, indented, with keys in the order given."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
