"""Croissant 1.0 (MLCommons) metadata of the shards: files with digests, and the fields of their records.

Record sets: `clips`, the rows of shards.parquet; `samples`, the filmstrips in the tars with the same clip's row; `classes` and
`splits`, enumerations that they refer to.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pyarrow as pa

from pipeline.composite import responsible
from pipeline.composite.dataset import DRAWN_LICENSE, INDEX, RELEASED, VERSION, Dataset, File, terms
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import SPLITS, ShardRow
from pipeline.records.schema import schema

_DEFINED = "https://mlcommons.org/definitions/"
_SPLIT_URLS = {"train": "training_split", "val": "validation_split", "test": "test_split"}
_TYPES = {pa.string(): "sc:Text", pa.int64(): "sc:Integer", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean"}
_IMAGE = {"jpg": "image/jpeg", "webp": "image/webp"}
_JOINED = ("class_id", "class_name", "split", "source", "valid_frames")  # columns of the index in `samples`
_PAPER = (
    "@article{waseem2023semi, title={Semi Supervised Meta Learning for Spatiotemporal Learning}, "
    "author={Waseem, Faraz and Muthukumar, Pratyush}, journal={arXiv:2308.01916}, year={2023}}"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def build(dataset: Dataset) -> dict[str, Any]:
    """The JSON-LD document."""
    index = File(INDEX, len(dataset.index), sha256(dataset.index).hexdigest())
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": "composite-action-dataset",
        "description": " ".join([dataset.summary, *terms(dataset)]),
        "version": f"{VERSION}+{index.sha256[:12]}",
        "datePublished": RELEASED,
        "license": _licenses(dataset),
        "url": "https://arxiv.org/abs/2308.01916",
        "citeAs": _PAPER,
        "creator": {"@type": "sc:Organization", "name": "The maintainers of this project"},
        "isLiveDataset": False,
        **responsible.fields(dataset),
        "distribution": [
            *(_file(shard, "application/x-tar") for shard in dataset.shards),
            _file(index, "application/x-parquet"),
            _filmstrips(dataset),
        ],
        "recordSet": [_splits(dataset), _classes(dataset), _clips(), _samples(dataset)],
    }


def _licenses(dataset: Dataset) -> list[dict[str, Any]]:
    """The terms of each source; those of this project where it has drawn the clips."""
    present = dataset.present.values()
    works = [_license(facts) for facts in present if not dataset.is_drawn(facts)]
    if any(map(dataset.is_drawn, present)):
        works.append({"@type": "sc:CreativeWork", "name": "Drawn clips: Apache License 2.0", "url": DRAWN_LICENSE})
    return works


def _license(facts: SourceFacts) -> dict[str, Any]:
    work = {"@type": "sc:CreativeWork", "name": f"{facts.title}: {facts.terms}", "description": facts.citation}
    url = facts.license_url or facts.url
    return work if url is None else work | {"url": url}


def _file(file: File, media_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": media_type,
        "sha256": file.sha256,
    }


def _filmstrips(dataset: Dataset) -> dict[str, Any]:
    image = dataset.settings.resize.format
    return {
        "@type": "cr:FileSet",
        "@id": "filmstrips",
        "name": "filmstrips",
        "description": f"The frames of each clip under one another in one image, of {_shape(dataset)} pixels.",
        "containedIn": [{"@id": shard.name} for shard in dataset.shards],
        "encodingFormat": _IMAGE[image],
        "includes": f"*.{image}",
    }


def _shape(dataset: Dataset) -> str:
    return f"{dataset.settings.resize.size}x{dataset.settings.resize.size * dataset.settings.resample.frames}"


def _splits(dataset: Dataset) -> dict[str, Any]:
    found = {row.split for row in dataset.rows}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "Splits by class: no class is in two of them.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits/name", "sc:Text", "Name."), _field("splits/url", "sc:URL", "What the split is for.")],
        "data": [
            {"splits/name": split, "splits/url": _DEFINED + _SPLIT_URLS[split]} for split in SPLITS if split in found
        ],
    }


def _classes(dataset: Dataset) -> dict[str, Any]:
    names = {row.class_id: row.class_name for row in dataset.rows}
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "The classes that have clips.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/id"},
        "field": [_field("classes/id", "sc:Integer", "Number."), _field("classes/name", "sc:Text", "Name.")],
        "data": [{"classes/id": number, "classes/name": names[number]} for number in sorted(names)],
    }


def _clips() -> dict[str, Any]:
    fields = []
    for column in schema(ShardRow):
        repeated = pa.types.is_list(column.type)
        kind = _TYPES[column.type.value_type if repeated else column.type]
        source = {"fileObject": {"@id": INDEX}, "extract": {"column": column.name}}
        doc = (column.metadata or {})[b"doc"].decode()
        fields.append(_field(f"clips/{column.name}", kind, doc, source) | ({"repeated": True} if repeated else {}))
    return {
        "@type": "cr:RecordSet",
        "@id": "clips",
        "name": "clips",
        "description": "One record a clip: its class, split, and place in a tar.",
        "key": {"@id": "clips/clip_id"},
        "field": fields,
    }


def _samples(dataset: Dataset) -> dict[str, Any]:
    """The join of the filmstrips, whose file names are clip ids, with the index."""
    files = {"fileSet": {"@id": "filmstrips"}}
    key = files | {"extract": {"fileProperty": "filename"}, "transform": {"regex": "^([^.]+)"}}
    types = {column.name: _TYPES[column.type] for column in schema(ShardRow) if column.name in _JOINED}
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": "One record a clip: its filmstrip with its row of the index.",
        "key": {"@id": "samples/clip_id"},
        "field": [
            _field("samples/clip_id", "sc:Text", "Name of the clip.", key) | {"references": _column("clip_id")},
            _field(
                "samples/filmstrip",
                "sc:ImageObject",
                f"All frames, {_shape(dataset)} pixels.",
                files | {"extract": {"fileProperty": "content"}},
            ),
            *(_field(f"samples/{name}", types[name], f"As clips/{name}.", _column(name)) for name in _JOINED),
        ],
    }


def _column(name: str) -> dict[str, Any]:
    return {"fileObject": {"@id": INDEX}, "extract": {"column": name}}


def _field(name: str, kind: str, doc: str, source: Mapping[str, Any] | None = None) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": name, "name": name.partition("/")[2], "description": doc, "dataType": kind}
    return field if source is None else field | {"source": source}
