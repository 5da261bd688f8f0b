"""RO-Crate 1.1 metadata of the shards, a Process Run Crate: which stages ran, with which params, on which sources.

Of a stage, only what decides bytes is told: neither when nor where it ran. `pipeline.tools.crate` adds what dvc.lock and
the ledgers of one machine know.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.redact import redact_params
from pipeline.composite.dataset import CRATE, DRAWN_LICENSE, RELEASED, VERSION, Dataset, File, terms
from pipeline.params import PipelineParams
from pipeline.records.manifests import count_failures

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
# The second part is one term of https://w3id.org/ro/terms/workflow-run/context, so that readers need not download that.
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
STAGES = {  # what each does, and the sections of params.yaml that decide its result
    "download": "fetches the clips that the dataset needs",
    "trim": "cuts every clip into a file of its own",
    "resample": "chooses the frame on screen at each tick",
    "resize": "decodes every clip once and writes its frames as one image",
    "merge": "gives each clip its class",
    "split": "holds classes out for the test",
    "shard": "writes the images to tar files",
}
_WITHOUT_EFFECT = {  # params that decide how bytes arrive or where they are copied, not which ones
    *("download.attempts", "download.timeout_s", "download.max_mb_per_s", "download.disk_gb", "download.keep_raw"),
    *("download.tinyvirat_ca", "download.tinyvirat_verify", "download.connections", "download.yt_dlp"),
    *("resize.timeout_s", "shard.copy_to"),
}
_MEDIA_TYPES = {".tar": "application/x-tar", ".parquet": "application/x-parquet", ".md": "text/markdown"}
_MEDIA_TYPES |= {".json": "application/json", ".yaml": "application/yaml", ".lock": "application/yaml"}


def build(dataset: Dataset, described: Sequence[File]) -> dict[str, Any]:
    """The JSON-LD document; `described` are the other files beside the shards."""
    files = [*dataset.shards, *described]
    actions = list(_actions(dataset))
    return {
        "@context": CONTEXT,
        "@graph": [
            descriptor("https://w3id.org/ro/crate/1.1"),
            {
                **root("Composite action dataset", dataset.summary, [PROFILE]),
                "hasPart": refs(file.name for file in files),
                "mentions": refs(action["@id"] for action in actions),
            },
            *(file_entity(file) for file in files),
            *actions,
            *(clips for stage in STAGES if (clips := _clips_after(stage, dataset))),
            *(param for stage in STAGES for param in params_of(stage, dataset.settings)),
            *_sources(dataset),
            software(),
            license_entity(dataset),
            profile(PROFILE, "Process Run Crate"),
            {"@id": "#maintainers", "@type": "Organization", "name": "The maintainers of the pipeline"},
        ],
    }


def descriptor(*conforms_to: str) -> dict[str, Any]:
    """The entity of the metadata file itself."""
    return {"@id": CRATE, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": refs(conforms_to)}


def root(name: str, description: str, profiles: Sequence[str]) -> dict[str, Any]:
    """The root data entity, without its parts."""
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": description,
        "datePublished": RELEASED,
        "license": {"@id": "#terms"},
        "author": {"@id": "#maintainers"},
        "conformsTo": refs(profiles),
    }


def file_entity(file: File) -> dict[str, Any]:
    """A file of the crate."""
    media_type = _MEDIA_TYPES.get("." + file.name.rpartition(".")[2], "application/octet-stream")
    return {
        "@id": file.name,
        "@type": "File",
        "name": file.name.rpartition("/")[2],
        "encodingFormat": media_type,
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }


def params_of(stage: str, settings: PipelineParams) -> list[dict[str, Any]]:
    """The params that decide the stage's result, as they apply to this corpus; credentials and folders are left out."""
    values = dataclasses.asdict(getattr(settings, stage))
    names = [name for name in values if f"{stage}.{name}" not in _WITHOUT_EFFECT]
    params = {f"{stage}.{name}": values[name] for name in names}
    if stage == "download":
        params = {"corpus": settings.corpus, "sources": settings.sources} | params
    return [
        {"@id": f"#param-{name}", "@type": "PropertyValue", "name": name, "value": _text(public(value))}
        for name, value in params.items()
    ]


def public(value: Any) -> Any:
    """A value of params.yaml without credentials, hosts and folders: of a path or URL, its last part."""
    if isinstance(value, Mapping):
        return {key: public(item) for key, item in redact_params(dict(value)).items()}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    if isinstance(value, str):
        parts = [part for part in redact_params(value).replace("\\", "/").split("/") if part]
        return parts[-1] if parts else ""
    return value


def software() -> dict[str, Any]:
    """The pipeline."""
    return {
        "@id": "#pipeline",
        "@type": "SoftwareApplication",
        "name": "python -m pipeline",
        "description": "Data stages of a reference implementation of arXiv 2308.01916",
        "url": "https://arxiv.org/abs/2308.01916",
        "softwareVersion": VERSION,
    }


def license_entity(dataset: Dataset) -> dict[str, Any]:
    """The terms of the dataset."""
    entity: dict[str, Any] = {
        "@id": "#terms",
        "@type": "CreativeWork",
        "name": "Terms of the sources",
        "description": " ".join(terms(dataset)),
    }
    return entity | {"url": DRAWN_LICENSE} if dataset.drawn else entity


def profile(url: str, name: str) -> dict[str, Any]:
    """A profile that the crate conforms to."""
    return {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}


def refs(names: Iterable[str]) -> list[dict[str, str]] | dict[str, str]:
    """References to entities: as RO-Crate recommends, one alone is no list."""
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found


def _actions(dataset: Dataset) -> Iterable[dict[str, Any]]:
    """One action a stage: from the sources, or the clips of the stage before, to clips, or to the shards."""
    before = [source["@id"] for source in _sources(dataset)]
    for stage, what in STAGES.items():
        after = [shard.name for shard in dataset.shards] if stage == "shard" else [f"#clips-{stage}"]
        yield {
            "@id": f"#{stage}",
            "@type": "CreateAction",
            "name": f"python -m pipeline {stage}",
            "description": f"The stage {stage} {what}.",
            "instrument": {"@id": "#pipeline"},
            "object": refs([*before, *(param["@id"] for param in params_of(stage, dataset.settings))]),
            "result": refs(after),
        }
        before = after


def _clips_after(stage: str, dataset: Dataset) -> dict[str, Any] | None:
    """What a stage hands on: files and manifests that are not in this folder."""
    if stage == "shard":
        return None
    description = f"manifests/{stage}.parquet and its files; not part of this crate."
    if stage == "merge":
        usable = sum(clip.status == "ok" for clip in dataset.clips)
        lost = "".join(f"; {code} {number:,}" for code, number in count_failures(dataset.clips).items())
        description = f"manifests/clips.parquet, not part of this crate: {usable:,} clips with a class{lost}."
    return {
        "@id": f"#clips-{stage}",
        "@type": "CreativeWork",
        "name": f"Clips after {stage}",
        "description": description,
    }


def _sources(dataset: Dataset) -> list[dict[str, Any]]:
    """The datasets that the clips are from; for the sample, the ones that its drawn clips stand for."""
    return [
        {
            "@id": f"#source-{name}",
            "@type": "CreativeWork",
            "name": facts.title,
            "description": f"{facts.citation}. Terms: {facts.terms}."
            + (" Its clips are drawn here, as stand-ins." if dataset.is_drawn(facts) else ""),
            **({"url": facts.url} if facts.url else {}),
        }
        for name, facts in dataset.present.items()
    ]


def _text(value: Any) -> str:
    """A value as in YAML, on one line: null, true, [a, b]."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)
