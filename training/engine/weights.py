"""Digests of published weights, for the fingerprints of the runs that start from them."""

import hashlib
from pathlib import Path

import torch.distributed as dist

from common.errors import WorkError
from training.models import hub

_SUFFIXES = (".safetensors", ".bin", ".json")  # in a folder written by transformers


def weights_digest(weights: str) -> str:
    """Digest of a checkpoint: a file, a folder written by `transformers`, a URL or a hub name, the last two downloaded once.

    Raises:
        WorkError: it is not there, or cannot be read or downloaded.
    """
    path = _fetch(weights)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    digest = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise WorkError(f"{file}: {error.strerror}") from None
    return digest.hexdigest()[:16]


def _fetch(weights: str) -> Path:
    """The local file or folder; of the processes of a run the first one downloads it, and the others wait."""
    several = dist.is_initialized()
    if several and dist.get_rank() > 0:
        dist.barrier()
    path = hub.local_path(weights)
    if several and dist.get_rank() == 0:
        dist.barrier()
    return path
