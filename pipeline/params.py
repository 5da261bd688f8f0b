"""The sections of params.yaml that shape the dataset; params.yaml itself explains each value and where it comes from."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from common.errors import ParamError
from common.params import Count, Params, Positive, Range, build, passwords, read
from common.sections import SECTIONS


@dataclass(frozen=True)
class Engine:
    kind: Literal["local", "ray"]
    workers: Count
    timeout_s: Annotated[float, Range(1)]
    address: str
    store: str | None
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        if self.store is not None and self.kind != "ray":
            raise ValueError(f"store is {self.store!r}: must be null, unless kind is ray")
        if self.workers > 512:
            raise ValueError(f"workers is {self.workers}: must be from 0 (all cores) to 512")
        if self.memory_mb is not None and self.memory_mb < 256:
            raise ValueError(f"memory_mb is {self.memory_mb}: must be at least 256, or null (a share of the machine)")


@dataclass(frozen=True)
class YtDlp:
    ratelimit: Positive | None = None
    sleep_interval: Annotated[float, Range(0)] | None = None
    max_sleep_interval: Annotated[float, Range(0)] | None = None
    cookiefile: str | None = None
    cookiesfrombrowser: str | None = None
    proxy: str | None = None

    def __post_init__(self) -> None:
        if self.max_sleep_interval is not None and self.max_sleep_interval < (self.sleep_interval or 0):
            raise ValueError(f"max_sleep_interval is {self.max_sleep_interval}: must be at least sleep_interval")


@dataclass(frozen=True)
class Download:
    kinetics_clips: Positive
    kinetics_splits: tuple[Literal["train", "val", "test"], ...]
    reserve_per_class: Count
    seed: Count
    attempts: Annotated[int, Range(1, 100)]
    timeout_s: Annotated[float, Range(1, 3600)]
    tinyvirat_ca: str | None
    tinyvirat_verify: bool
    max_mb_per_s: Annotated[float, Range(0.001)] | None
    disk_gb: Annotated[float, Range(0.001)] | None
    keep_raw: bool
    youtube: bool
    min_height: Annotated[int, Range(64, 4320)]
    connections: Annotated[int, Range(1, 16)]
    yt_dlp: YtDlp


@dataclass(frozen=True)
class Trim:
    margin_s: Annotated[float, Range(0, 60)]


@dataclass(frozen=True)
class Resample:
    fps: Annotated[int, Range(1, 240)]
    frames: Annotated[int, Range(1, 1000)]
    min_frames: Annotated[int, Range(1, 1000)]
    pad: Literal["loop", "hold"]

    def __post_init__(self) -> None:
        if self.min_frames > self.frames:
            raise ValueError(f"min_frames is {self.min_frames}: must be at most frames, {self.frames}")


@dataclass(frozen=True)
class Resize:
    size: Annotated[int, Range(8, 512)]
    fit: Literal["stretch", "letterbox"]
    format: Literal["jpg", "webp"]
    quality: Annotated[int, Range(1, 100)]
    timeout_s: Annotated[float, Range(1)]

    def __post_init__(self) -> None:
        if self.size % 8:
            raise ValueError(
                f"size is {self.size}: must be a multiple of 8, or frames of a filmstrip share JPEG blocks"
            )


@dataclass(frozen=True)
class Merge:
    class_rule: Literal["label_sets", "first_label", "source_video"]
    label_sets: Positive
    expected_classes: Positive | None
    aliases: str | None = None
    near_duplicates: Annotated[int, Range(0, 64)] | None = None
    where: str | None = None


@dataclass(frozen=True)
class SplitCounts:
    train: Count
    test: Count


@dataclass(frozen=True)
class Split:
    seed: Count
    held_out: Annotated[float, Range(0.0, 0.9)]
    target_clips: SplitCounts | None
    expected: SplitCounts | None
    by: Literal["target", "random", "official", "file"] = "target"
    file: str | None = None
    freeze: bool = False

    def __post_init__(self) -> None:
        if (self.by == "file") != (self.file is not None):
            raise ValueError(
                f"by is {self.by!r} and file is {self.file!r}: a file is given with `by: file`, and only then"
            )


@dataclass(frozen=True)
class Shard:
    seed: Count
    max_clips: Positive
    max_bytes: Annotated[int, Range(1 << 20)]
    copy_to: str | None = None


KINDS = {
    "engine": Engine,
    "download": Download,
    "trim": Trim,
    "resample": Resample,
    "resize": Resize,
    "merge": Merge,
    "split": Split,
    "shard": Shard,
}


@dataclass(frozen=True)
class PipelineParams:
    """The sections of params.yaml that the data stages read, checked as a whole."""

    corpus: str
    sources: Mapping[str, Any]
    engine: Engine
    download: Download
    trim: Trim
    resample: Resample
    resize: Resize
    merge: Merge
    split: Split
    shard: Shard


def load() -> PipelineParams:
    """Read and check params.yaml in the current folder; a password that it has in clear text is a warning.

    Raises:
        ParamError: see `common.params`; also when a filmstrip would be taller than its image format allows.
    """
    raw: Params = read(SECTIONS)
    sections: dict[str, Any] = {name: raw.section(name, kind) for name, kind in KINDS.items()}
    sources = build(dict[str, dict[str, Any]], raw.raw["sources"], "sources")
    params = PipelineParams(corpus=raw.corpus, sources=sources, **sections)
    height, limit = params.resample.frames * params.resize.size, {"jpg": 65535, "webp": 16383}[params.resize.format]
    if height > limit:
        raise ParamError(
            f"params.yaml: resample.frames x resize.size is {height} pixels: "
            f"a {params.resize.format} filmstrip is at most {limit} tall"
        )
    for key in passwords(raw.raw):
        print(
            f"warning: params.yaml has a password in {key}, and dvc.lock may copy it: write ${{NAME}} in its place, "
            "with NAME an environment variable",
            file=sys.stderr,
        )
    return params
