"""crate: describe the last run in ro-crate-metadata.json, a Workflow Run Crate, from dvc.lock, params.yaml and the ledgers.

The crate is the project folder: dvc.yaml is its workflow, each stage in dvc.lock is an action with its inputs, outputs and
params, and the ledgers give the clips, failures and seconds of the stages that work on single clips. No time of day and no
host is in it; params are those that `pipeline.composite.crate` shows.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from common.errors import WorkError
from common.files import sweep_beside, write_bytes
from common.params import PARAMS
from common.paths import LEDGERS, SHARDS
from pipeline import params, sources
from pipeline.composite import crate, documents
from pipeline.composite.dataset import CRATE, Dataset, File
from pipeline.records import manifests
from pipeline.records.rows import CompositeRow, ShardRow
from pipeline.runner.ledger import file_digest
from pipeline.tools import ledgers

_LOCK, _WORKFLOW = Path("dvc.lock"), Path("dvc.yaml")
_PROFILES = {
    crate.PROFILE: "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_LIBRARIES = ("av", "imageio-ffmpeg", "numpy", "opencv-python-headless", "pyarrow", "webdataset")  # they decide bytes


@dataclass(frozen=True)
class Run:
    """A stage as dvc.lock has it.

    Args:
        inputs: data that it read, without code.
        outputs: data that it wrote, with the md5 of each.
        code: md5 of each file or folder of code that it depends on.
    """

    stage: str
    command: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    code: Mapping[str, str]


def main() -> None:
    """Write ro-crate-metadata.json into the project folder.

    Raises:
        WorkError: dvc.lock is missing or damaged, or an output of the data stages is missing.
    """
    settings = params.load()
    rows, clips = manifests.read(ShardRow), manifests.read(CompositeRow)
    dataset = Dataset(rows, clips, [], b"", sources.facts(settings.sources), settings)
    runs = read_lock()
    paths = [_WORKFLOW, _LOCK, PARAMS, *_data_files(runs)]
    files = [_describe(path) for path in dict.fromkeys(paths)]
    sweep_beside(Path(CRATE))
    write_bytes(Path(CRATE), documents.to_json(build(dataset, runs, files)))
    print(f"crate: {CRATE}: {len(runs)} stages, {len(files)} files")


def read_lock() -> list[Run]:
    """The data stages of dvc.lock, in its order.

    Raises:
        WorkError: it is missing, or is not as DVC writes it.
    """
    try:
        stages = yaml.safe_load(_LOCK.read_text(encoding="utf-8"))["stages"]
        return [_run(name, stage) for name, stage in stages.items() if stage["cmd"].startswith("./run pipeline ")]
    except FileNotFoundError:
        raise WorkError(f"{_LOCK} is missing: run `dvc repro verify`, which writes it") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise WorkError(f"{_LOCK} is damaged: delete it and run `dvc repro verify`") from None


def build(dataset: Dataset, runs: list[Run], files: list[File]) -> dict[str, Any]:
    """The JSON-LD document of these runs, whose files are below the project folder."""
    settings = dataset.settings
    properties = [param for stage in crate.STAGES for param in crate.params_of(stage, settings)]
    names = {file.name for file in files}
    actions = [_action(run, names, settings) for run in runs]
    facts = [entity for run in runs for entity in _facts(run)]
    libraries = list(_libraries())
    made = [file.name for file in files if file.name.startswith(f"{SHARDS.as_posix()}/")]
    whole = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "dvc repro verify",
        "description": f"The data stages, from the sources to the shards. {dataset.summary}",
        "instrument": {"@id": _WORKFLOW.as_posix()},
        "object": crate.refs([PARAMS.as_posix(), *(param["@id"] for param in properties)]),
        "result": crate.refs(made),
    }
    return {
        "@context": crate.CONTEXT,
        "@graph": [
            crate.descriptor("https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"),
            {
                **crate.root("Run of the data stages", dataset.summary, list(_PROFILES)),
                "mainEntity": {"@id": _WORKFLOW.as_posix()},
                "hasPart": crate.refs(file.name for file in files),
                "mentions": crate.refs(["#run", *(action["@id"] for action in actions)]),
            },
            *(_file_entity(file, properties) for file in files),
            whole,
            *actions,
            *({**param, "exampleOfWork": {"@id": _formal(param)}} for param in properties),
            *map(_formal_parameter, properties),
            *facts,
            {**crate.software(), "softwareRequirements": crate.refs(library["@id"] for library in libraries)},
            *libraries,
            {"@id": "#dvc", "@type": "ComputerLanguage", "name": "DVC", "url": "https://dvc.org"},
            crate.license_entity(dataset),
            *(crate.profile(url, name) for url, name in _PROFILES.items()),
            {"@id": "#maintainers", "@type": "Organization", "name": "The maintainers of the pipeline"},
        ],
    }


def _run(name: str, stage: Mapping[str, Any]) -> Run:
    deps = {dep["path"]: str(dep["md5"]) for dep in stage.get("deps", [])}
    code = {path: md5 for path, md5 in deps.items() if path.partition("/")[0] in ("common", "pipeline")}
    outputs = {out["path"]: str(out["md5"]) for out in stage.get("outs", [])}
    return Run(name, stage["cmd"], tuple(path for path in deps if path not in code), outputs, code)


def _data_files(runs: list[Run]) -> Iterator[Path]:
    """The outputs of the stages, and the files in those that are folders.

    Raises:
        WorkError: a file is not the one that the stage wrote; shards have digests of their own, which verify compares.
    """
    for run in runs:
        for output, md5 in run.outputs.items():
            path = Path(output)
            if path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                raise WorkError(f"{path} is not the one in {_LOCK}: run `dvc repro verify`")
            yield from sorted(path.iterdir()) if path.is_dir() else [path]


def _describe(path: Path) -> File:
    try:
        return File(path.as_posix(), path.stat().st_size, file_digest(path))
    except FileNotFoundError:
        raise WorkError(f"{path} is missing: run `dvc repro verify`") from None


def _file_entity(file: File, properties: list[dict[str, Any]]) -> dict[str, Any]:
    entity = crate.file_entity(file)
    if file.name != _WORKFLOW.as_posix():
        return entity
    return entity | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "From videos to shards",
        "programmingLanguage": {"@id": "#dvc"},
        "input": crate.refs(map(_formal, properties)),
    }


def _action(run: Run, names: set[str], settings: params.PipelineParams) -> dict[str, Any]:
    """One stage: data and params in, data out; its code is told by the digests in dvc.lock."""
    own = crate.params_of(run.stage, settings) if run.stage in crate.STAGES else []
    code = ", ".join(f"{path} {md5}" for path, md5 in run.code.items())
    return {
        "@id": f"#{run.stage}",
        "@type": "CreateAction",
        "name": run.command,
        "description": f"Code by md5, as in dvc.lock: {code}.",
        "instrument": {"@id": "#pipeline"},
        "object": crate.refs([*_expand(run.inputs, names), *(param["@id"] for param in own)]),
        "result": crate.refs([*_expand(run.outputs, names), *(fact["@id"] for fact in _facts(run))]),
    }


def _expand(paths: Iterable[str], names: set[str]) -> list[str]:
    """The files of the crate that are at these paths or in these folders."""
    return [name for path in paths for name in sorted(names) if name == path or name.startswith(f"{path}/")]


def _facts(run: Run) -> list[dict[str, Any]]:
    """What the stage's ledger says of its clips; nothing for stages without one."""
    if run.stage not in ledgers.existing():
        return []
    with ledgers.open_ledger(run.stage) as ledger:
        outcomes = list(ledger.load().values())
    failed = Counter(outcome.error for outcome in outcomes if outcome.error is not None)
    values: dict[str, object] = {
        "clips finished": sum(outcome.result is not None for outcome in outcomes),
        "seconds of work": round(sum(outcome.seconds for outcome in outcomes), 1),
        "repeated attempts": sum(outcome.attempts - 1 for outcome in outcomes),
    }
    values |= {f"clips lost, {code}": number for code, number in sorted(failed.items())}
    return [
        {
            "@id": f"#{run.stage}-{name.replace(',', '').replace(' ', '-')}",
            "@type": "PropertyValue",
            "name": f"{run.stage}: {name}",
            "value": str(value),
            "description": f"From {LEDGERS.as_posix()}/{run.stage}.sqlite.",
        }
        for name, value in values.items()
    ]


def _formal(param: Mapping[str, Any]) -> str:
    return f"#input-{param['name']}"


def _formal_parameter(param: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@id": _formal(param),
        "@type": "FormalParameter",
        "additionalType": "Text",
        "name": param["name"],
        "description": "Explained in params.yaml.",
        "workExample": {"@id": param["@id"]},
    }


def _libraries() -> Iterator[dict[str, Any]]:
    """The libraries that are installed under these names, with their versions."""
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            yield {"@id": f"#{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version(name)}
