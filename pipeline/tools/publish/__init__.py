"""publish: upload shards, index, card, Croissant, RO-Crate and a preview to an fsspec URL or a Hugging Face dataset repository."""

import dataclasses
import hashlib
from pathlib import Path

from common.errors import WorkError
from common.files import sweep, write_bytes
from common.paths import SHARDS
from common.redact import redact
from pipeline import params, sources
from pipeline.composite import documents
from pipeline.composite.dataset import CARD, Dataset, File
from pipeline.params import PipelineParams
from pipeline.records import manifests
from pipeline.records.rows import CompositeRow, ShardRow
from pipeline.runner.ledger import file_digest
from pipeline.tools.publish import hub, preview, urls
from pipeline.tools.publish.plan import Upload

STAGING = Path(
    "data/publish"
)  # the documents as they are published: they name the preview, which the shards' own do not
_REMEDY = "run `dvc repro verify`"


def main(url: str, dry_run: bool = False) -> None:
    """Upload what has changed; the dataset card comes last, and a commit of the hub has all files at once.

    Args:
        url: an fsspec URL, or hf://datasets/OWNER/NAME, with the token in the environment variable HF_TOKEN.
        dry_run: print the files and their sizes only.

    Raises:
        ParamError: the URL names no repository, or HF_TOKEN is not set.
        WorkError: a shard is not the one in croissant.json, or the upload fails; the same command continues.
    """
    repository = hub.repository(url)
    settings = params.load()
    uploads = prepare(settings)
    total = sum(upload.file.size for upload in uploads)
    if dry_run:
        for upload in uploads:
            print(f"{upload.file.size:>15,}  {upload.file.name}")
        print(f"publish: {len(uploads)} files, {total:,} bytes, to {redact(url)}; nothing is uploaded")
        return
    sent = urls.upload(url, uploads) if repository is None else hub.upload(repository, uploads)
    print(f"publish: {redact(url)} has {len(uploads)} files, {total:,} bytes; {sent} were uploaded now")


def prepare(settings: PipelineParams) -> list[Upload]:
    """The files to publish, in the order in which they are uploaded; the documents and the preview are written anew.

    Raises:
        WorkError: a shard is missing, or is not the one that shard wrote.
    """
    rows, clips = manifests.read(ShardRow), manifests.read(CompositeRow)
    shards = [_describe(Path(shard)) for shard in sorted({row.shard for row in rows})]
    facts = sources.facts(settings.sources)
    dataset = Dataset(rows, clips, shards, manifests.path_of(ShardRow).read_bytes(), facts, settings)
    for name, content in documents.render(dataset).items():
        path = SHARDS / name
        if not path.exists() or path.read_bytes() != content:
            raise WorkError(f"{path} is not the one of these shards: {_REMEDY}")
    sweep(STAGING)
    files = documents.render(dataclasses.replace(dataset, preview=preview.build(rows, settings)))
    uploads = [Upload(SHARDS / shard.name, shard) for shard in shards]
    for name in sorted(files, key=lambda name: (name == CARD, name)):
        write_bytes(STAGING / name, files[name])
        uploads.append(Upload(STAGING / name, File(name, len(files[name]), hashlib.sha256(files[name]).hexdigest())))
    return uploads


def _describe(path: Path) -> File:
    try:
        return File(path.name, path.stat().st_size, file_digest(path))
    except FileNotFoundError:
        raise WorkError(f"{path} is missing: {_REMEDY}") from None
