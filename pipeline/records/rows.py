"""The row of each manifest. A dataclass's fields are the columns of its parquet file, in this order.

The types describe a row with status `ok`. Fields declared by `result` are None in rows where the stage produced
nothing: those of a lost clip, and spare clips that were not fetched.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pipeline.records.failures import ClipError, Failure
from pipeline.records.schema import Record, column, missing_results, result

Status = Literal["ok", "failed", "spare"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")  # val: only where lists give it, see `split.by`

_PATH = "file with this stage's result, relative to the project folder"
_BYTES = "size of that file in bytes"
_LABELS = "the publisher's labels of the clip"
_IN_MINIKINETICS = "the video is on MiniKinetics-200's lists"
_OFFICIAL_SPLIT = "train, val or test as the dataset's publisher has it; null if none"
_TINYVIRAT = "all TinyVIRAT labels of the clip in their given order; null elsewhere"
_VALID_FRAMES = "ticks that show the clip itself; the rest up to 100 is padding"
_CLASS_ID = "dense class index from 0, in order of source and name"
_CLASS_NAME = "name of the class; label sets are joined by ` + `"
_CLIPS = "clips in the class"
_FILMSTRIP_SHA256 = "digest of the filmstrip"
_MOTION = (
    "mean absolute difference of the frames of consecutive ticks, 0 to 1 (black to white); 0: frozen, or a single frame"
)
_SHARPNESS = (
    "variance of the Laplacian of luma, luma from 0 to 1, mean of 16 frames of the final size; near 0: blurred or empty"
)
_BRIGHTNESS = "mean luma of all frames, 0 (black) to 1 (white)"


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """The columns that every manifest with one row per clip has.

    Raises:
        ValueError: an `ok` row lacks a result.
    """

    MANIFEST: ClassVar[str]
    SORTED_BY: ClassVar[str] = "clip_id"

    clip_id: str = column("unique name of the clip; letters, digits, `-` and `_` only")
    source: str = column("the entry under `sources` in params.yaml that the clip comes from")
    status: Status = column("`ok`, `failed` (see `error`), or `spare` (usable or not fetched, and not needed)", "ok")
    error: str | None = column("failure code, null unless failed; kept from the stage where the clip was lost", None)
    error_detail: str | None = column("what exactly was wrong, one line", None)
    attempts: int = column("how often the stage that decided has tried this clip", 1)
    key: str = column(
        "digest of the clip's input and of the params that shaped this row: equal keys, equal results", ""
    )

    def __post_init__(self) -> None:
        if self.status == "ok":
            missing = missing_results(self)
            if missing:
                raise ValueError(f"{self.clip_id} is ok and has no {', '.join(missing)}")

    @property
    def is_clip(self) -> bool:
        """False for a file beside the videos of a folder, which is in download.parquet alone."""
        return self.error != Failure.NOT_VIDEO

    @classmethod
    def carried(cls, row: "ClipRow") -> Self:
        """The row of a clip that was lost upstream: it keeps its reason, and has no result."""
        return cls(**{field.name: getattr(row, field.name) for field in dataclasses.fields(ClipRow)})

    @classmethod
    def failed(cls, row: "ClipRow", error: ClipError, *, key: str = "", attempts: int = 1) -> Self:
        """The row of a clip that is lost in this stage."""
        return cls(
            clip_id=row.clip_id,
            source=row.source,
            status="failed",
            error=error.code.value,
            error_detail=error.detail,
            attempts=attempts,
            key=key,
        )


@dataclass(frozen=True, kw_only=True)
class DownloadRow(ClipRow):
    """One row per annotated clip: wanted or not, fetched or not, and from where."""

    MANIFEST = "download"

    video_id: str = column("the video that the clip was cut from: YouTube id, VIRAT scene, or file")
    start_s: float | None = column("start of the clip in that video, seconds; null if the file is the clip", None)
    end_s: float | None = column("end of the clip in that video, seconds; null if the file is the clip", None)
    official_split: str | None = column(_OFFICIAL_SPLIT, None)
    labels: tuple[str, ...] = column(_LABELS)
    in_minikinetics200: bool = column(_IN_MINIKINETICS, False)
    url: str | None = column("where the bytes came from; `archive#member` for a file in an archive", None)
    path: str = result("the file as it came, also of failed clips if there is one")
    bytes: int = result(_BYTES)
    sha256: str = result("digest of the file's content")
    precut: bool = column("the file holds just the clip; else `start_s` to `end_s` of it are wanted", True)
    rank: int | None = column("order of arrival in its class: lower ranks fill the class's quota first", None)
    quota: int | None = column("how many clips its class is to have; null: all there are", None)


@dataclass(frozen=True, kw_only=True)
class TrimRow(ClipRow):
    """Each clip as a file of its own, and the time of its wanted start in that file."""

    MANIFEST = "trim"

    path: str = result(_PATH)
    lead_in_s: float = result("seconds in the file from its first frame to the wanted start of the clip")
    duration_s: float = result("length of the clip in seconds, clamped to what the video has")
    bytes: int = result(_BYTES)


@dataclass(frozen=True, kw_only=True)
class ResampleRow(ClipRow):
    """The timeline: which frame of the source a viewer sees at each tick."""

    MANIFEST = "resample"

    path: str = result(_PATH)
    container: str = result("container format as FFmpeg names it")
    codec: str = result("video codec as FFmpeg names it")
    width: int = result("coded width, pixels")
    height: int = result("coded height, pixels")
    rotation: int = result("degrees counter-clockwise by which a player turns the picture")
    avg_fps: float = result("frames per second by timestamps, over the clip")
    source_frames: int = result("frames in the clip before resampling")
    time_base: str = result("seconds per unit of `timeline`, a fraction such as `1/15360`")
    timeline: tuple[int, ...] = result("for each tick, the presentation timestamp of the frame on screen")
    timeline_from: Literal["packets", "frames"] = result(
        "`packets` (container timestamps) or `frames` (a decode, where those lie)"
    )
    clock: Literal["presentation", "order", "rate"] = result(
        "times are `presentation` stamps, stamps in decoding `order`, or the nominal `rate`"
    )
    valid_frames: int = result(_VALID_FRAMES)


@dataclass(frozen=True, kw_only=True)
class ResizeRow(ClipRow):
    """The filmstrip: the clip's frames under one another in one image."""

    MANIFEST = "resize"

    path: str = result(_PATH)
    bytes: int = result(_BYTES)
    sha256: str = result(_FILMSTRIP_SHA256)
    valid_frames: int = result(_VALID_FRAMES)
    motion: float = result(_MOTION)
    sharpness: float = result(_SHARPNESS)
    brightness: float = result(_BRIGHTNESS)
    fingerprint: str | None = column(
        "256 bits in hex, few of which differ between near-duplicates; null for clips without contrast, such as black ones",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class CompositeRow(ClipRow):
    """The composite: every clip with its class, or the reason why it has none."""

    MANIFEST = "clips"

    class_id: int = result(_CLASS_ID)
    class_name: str = result(_CLASS_NAME)
    labels: tuple[str, ...] = column(_LABELS)
    tinyvirat_labels: tuple[str, ...] | None = column(_TINYVIRAT, None)
    official_split: str | None = column(_OFFICIAL_SPLIT, None)
    video_id: str = column("the video that the clip was cut from")
    in_minikinetics200: bool = column(_IN_MINIKINETICS, False)
    path: str = result(_PATH)
    bytes: int = result(_BYTES)
    sha256: str = result(_FILMSTRIP_SHA256)
    valid_frames: int = result(_VALID_FRAMES)
    motion: float | None = column(f"{_MOTION}; null without a filmstrip", None)
    sharpness: float | None = column(f"{_SHARPNESS}; null without a filmstrip", None)
    brightness: float | None = column(f"{_BRIGHTNESS}; null without a filmstrip", None)
    duplicate_of: str | None = column(
        "the clip that this one is a near-duplicate of (see `merge.near_duplicates`), the first that merge prefers; else null",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """The classes, and the labels that define each; with `split.freeze` also those that have no clip any more."""

    MANIFEST: ClassVar[str] = "classes"
    SORTED_BY: ClassVar[str] = "class_id"

    class_id: int = column(_CLASS_ID)
    class_name: str = column(_CLASS_NAME)
    source: str = column("the source that the class comes from")
    member_labels: tuple[str, ...] = column("labels whose set makes the class")
    clips: int = column(_CLIPS)


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """The clips that a source lists one by one (`subset` of Kinetics-400) and that the composite lacks; none of other sources."""

    MANIFEST: ClassVar[str] = "gaps"
    SORTED_BY: ClassVar[str] = "clip_id"

    clip_id: str = column("name of the missing clip, as in `clips.parquet`")
    source: str = column("the entry under `sources` in params.yaml that lists the clip")
    class_name: str = column("class of the clip")
    split: str | None = column("train, val or test as the list has it")
    reason: str = column("failure code, as `error` in `clips.parquet`")
    detail: str | None = column("what exactly was wrong, one line", None)


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """The split of each class."""

    MANIFEST: ClassVar[str] = "splits"
    SORTED_BY: ClassVar[str] = "class_id"

    class_id: int = column(_CLASS_ID)
    class_name: str = column(_CLASS_NAME)
    split: Literal["train", "val", "test", "unused"] = column(
        "train or test: evaluation sees only classes that training never saw; by `split.file` also val or unused"
    )
    clips: int = column(_CLIPS)


@dataclass(frozen=True, kw_only=True)
class ShardRow(ClipRow):
    """The place of each clip in the shards, for random access by offset."""

    MANIFEST = "shards"

    class_id: int = column(_CLASS_ID)
    class_name: str = column(_CLASS_NAME)
    split: Split = column("train, val or test, by class")
    official_split: str | None = column(_OFFICIAL_SPLIT, None)
    tinyvirat_labels: tuple[str, ...] | None = column(_TINYVIRAT, None)
    valid_frames: int = column(_VALID_FRAMES)
    sha256: str = column(_FILMSTRIP_SHA256)
    shard: str = column("tar file that holds the clip, relative to the project folder")
    offset: int = column("first byte of the filmstrip in that tar")
    length: int = column("size of the filmstrip in bytes")


ROW_TYPES: tuple[type[Record], ...] = (
    *(DownloadRow, TrimRow, ResampleRow, ResizeRow),
    *(CompositeRow, ClassRow, GapRow, SplitRow, ShardRow),
)
