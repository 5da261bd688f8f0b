"""The datasets, each in a module or folder of its own that declares a `SourceSpec` named `SPEC`.

A new dataset is a new module here: it is found by its place.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.errors import ParamError
from common.params import build
from pipeline.params import PipelineParams
from pipeline.records.facts import SourceFacts
from pipeline.sources.spec import Entry, Source, SourceSpec

if TYPE_CHECKING:
    from pipeline.sources.traffic import Traffic

_SHARED = {
    "clips",
    "context",
    "extensions",
    "plan",
    "probe",
    "spec",
    "traffic",
    "walk",
}  # modules of this folder that are no dataset


def discover() -> dict[str, SourceSpec[Any]]:
    """The spec of every dataset module in this folder, by kind."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)
    specs: list[SourceSpec[Any]] = [importlib.import_module(f"{__name__}.{name}").SPEC for name in names]
    return {spec.kind: spec for spec in specs}


SPECS = discover()


def parse(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """The entries under `sources`, typed by their kind.

    Raises:
        ParamError: an unknown kind or key, a name with other characters than letters, digits and `_`, or the same
            hosted dataset twice.
    """
    if not entries:
        raise ParamError("params.yaml: sources is empty: list at least one dataset or folder")
    typed: dict[str, Entry] = {}
    for name, values in entries.items():
        if not name.replace("_", "a").isalnum() or not name.isascii():
            raise ParamError(f"params.yaml: sources.{name}: a source's name is made of letters, digits and `_`")
        kind = values.get("kind")
        if kind not in SPECS:
            raise ParamError(f"params.yaml: sources.{name}.kind is {kind!r}: must be one of {', '.join(SPECS)}")
        typed[name] = build(SPECS[kind].entry, values, f"sources.{name}")
    first: dict[str, str] = {}
    for name, entry in typed.items():
        if SPECS[entry.kind].facts.hosted and first.setdefault(entry.kind, name) != name:
            raise ParamError(f"params.yaml: sources.{name} repeats {entry.kind}, which is {first[entry.kind]} already")
    return typed


def facts(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, SourceFacts]:
    """The facts of each source, by its name under `sources`, in that order. Raises as `parse`."""
    return {name: SPECS[entry.kind].facts for name, entry in parse(entries).items()}


def with_listed_clips(entries: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names of the sources that list the clips that they want one by one. Raises as `parse`."""
    return {name for name, entry in parse(entries).items() if SPECS[entry.kind].lists_clips(entry)}


def needs_hosts(params: PipelineParams) -> bool:
    """Whether any source is hosted, as opposed to a folder of the user's own."""
    return any(source.hosted for source in facts(params.sources).values())


def create(params: PipelineParams, traffic: "Traffic | None" = None) -> list[Source]:
    """The sources that params.yaml asks for, in its order. Raises as `parse`.

    Args:
        traffic: counts what they receive and read, and limits the rate; by default one with the limit in params.yaml.
    """
    # Imported here, so that stages that need facts only do not load requests, fsspec and av.
    from pipeline.sources.context import make_context
    from pipeline.sources.traffic import Traffic

    entries = parse(params.sources)
    hosted = {entry.kind: name for name, entry in entries.items() if SPECS[entry.kind].facts.hosted}
    sites = tuple(site for spec in SPECS.values() for site in spec.sites(params.download))
    context = make_context(params, sites, hosted, traffic or Traffic(params.download.max_mb_per_s))
    created = (SPECS[entry.kind].create(name, entry, context) for name, entry in entries.items())
    return [source for source in created if source is not None]
