"""Publishing to a Hugging Face dataset repository, `hf://datasets/OWNER/NAME`, in one commit.

Large files are uploaded one by one before it, by their digests: what the hub has already is not sent again. Until the commit,
readers see the version before. The token is taken from the environment variable HF_TOKEN alone, and is neither stored nor shown.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from common.errors import ParamError, WorkError
from pipeline.tools.publish.plan import Upload

_SCHEME = "hf://"
_SHARD = re.compile(r"(train|val|test)-\d{6}\.tar")  # files that readers of the card would take for shards
_REPOSITORY = re.compile(r"hf://datasets/([\w.-]{1,96}/[\w.-]{1,96})/?")


def repository(url: str) -> str | None:
    """OWNER/NAME of a repository's URL; None for a URL of another kind.

    Raises:
        ParamError: it is on the hub and names no dataset repository, or HF_TOKEN is not set.
    """
    if not url.startswith(_SCHEME):
        return None
    match = _REPOSITORY.fullmatch(url)
    if match is None:
        raise ParamError("a repository of datasets has the form hf://datasets/OWNER/NAME")
    return match[1]


def upload(name: str, uploads: Sequence[Upload]) -> int:
    """Make the repository if there is none, upload what it lacks, and commit; the number of files in the commit.

    The same commit deletes shards that the dataset has no longer; other files of the repository stay.

    Raises:
        ParamError: HF_TOKEN is not set.
        WorkError: huggingface_hub is not installed, or the hub refuses.
    """
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ParamError(f"HF_TOKEN is not set: it has to be a token that may write to {name}")
    hub = _import()
    try:
        api = hub.HfApi(token=token)
        api.create_repo(name, repo_type="dataset", exist_ok=True)
        operations = [hub.CommitOperationAdd(upload.file.name, upload.path) for upload in uploads]
        names = {upload.file.name for upload in uploads}
        stale = [file for file in api.list_repo_files(name, repo_type="dataset") if _SHARD.fullmatch(file)]
        total = sum(upload.file.size for upload in uploads)
        with tqdm(desc="publish", total=total, unit="B", unit_scale=True, disable=None) as bar:
            for operation, item in zip(operations, uploads, strict=True):
                api.preupload_lfs_files(name, [operation], repo_type="dataset", num_threads=1)
                bar.update(item.file.size)
        deletions = [hub.CommitOperationDelete(file) for file in stale if file not in names]
        changes = [*operations, *deletions]
        api.create_commit(name, changes, commit_message="Publish the dataset", repo_type="dataset")
    except Exception as error:  # noqa: BLE001 (the client's own errors, and those of its HTTP library)
        text = " ".join(f"{type(error).__name__}: {error}".split()).replace(token, "***")
        raise WorkError(f"{name}: {text}: run the same command again to continue") from None
    return len(operations)


def _import() -> Any:
    try:
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ModuleNotFoundError:
        raise WorkError(
            "publishing to the hub needs huggingface_hub: `pip install huggingface_hub`, or the extra `publish`"
        ) from None
    disable_progress_bars()  # of its own, for every file
    return huggingface_hub
