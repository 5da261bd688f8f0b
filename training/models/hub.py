"""Checkpoints by their name on the Hugging Face hub, as OWNER/NAME."""

import os
import re
from pathlib import Path

from common.errors import WorkError
from training.models import remote

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_FILES = (".pt", ".pth", ".pyth", ".bin", ".ckpt", ".safetensors")


def local_path(path: str, sha256: str | None = None) -> Path:
    """The local file or folder for a path, a URL, or a name on the hub; the last two are downloaded once (see `remote`).

    A name is OWNER/NAME without the suffix of a checkpoint, where no such folder is here. HF_ENDPOINT sets a mirror of the hub.

    Raises:
        WorkError: as `remote.local_path`.
    """
    if not _NAME.fullmatch(path) or Path(path).suffix in _FILES or Path(path).exists():
        return remote.local_path(path, sha256)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        return remote.local_path(f"{endpoint}/{path}/resolve/main/model.safetensors", sha256)
    except WorkError as error:
        raise WorkError(f"{path} is neither a folder here nor a model on the hub: {error}") from None
