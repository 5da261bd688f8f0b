"""The finished dataset, as its metadata describes it: rows, shards, sources and params."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.params import PipelineParams
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import CompositeRow, ShardRow

CARD, INDEX, CROISSANT, CRATE = "README.md", "shards.parquet", "croissant.json", "ro-crate-metadata.json"
PREVIEW, PREVIEW_TAR, PREVIEW_PICTURE = "preview.parquet", "preview.tar", "preview.webp"
VERSION, RELEASED = (
    "0.2.0",
    "2026-11-24",
)  # of this code, as in CITATION.cff: the date of a dataset that may hold no other
DRAWN_LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"  # of clips that this project has drawn: its own


@dataclass(frozen=True)
class File:
    """A file of the dataset: its name in the folder, size in bytes, and sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """What the documents describe.

    Args:
        rows: of the clips in the shards.
        clips: of the whole composite, those that were lost among them.
        shards: the tars.
        index: the content of manifests/shards.parquet.
        facts: of the sources, by name, in the order of params.yaml.
        preview: files of animated clips by name; only where the dataset is published.
    """

    rows: Sequence[ShardRow]
    clips: Sequence[CompositeRow]
    shards: Sequence[File]
    index: bytes
    facts: Mapping[str, SourceFacts]
    settings: PipelineParams
    preview: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def present(self) -> Mapping[str, SourceFacts]:
        """The sources that have clips in the shards."""
        found = {row.source for row in self.rows}
        return {name: facts for name, facts in self.facts.items() if name in found}

    def is_drawn(self, facts: SourceFacts) -> bool:
        """Whether this project has drawn the source's clips, so that the terms of the dataset do not apply."""
        return self.settings.corpus == "sample" and facts.hosted

    @property
    def drawn(self) -> bool:
        """Whether every clip is drawn."""
        return all(map(self.is_drawn, self.present.values()))

    @property
    def summary(self) -> str:
        """One sentence on the content."""
        shape = self.settings.resample, self.settings.resize
        classes = len({row.class_id for row in self.rows})
        return (
            f"{len(self.rows):,} clips of {classes:,} action classes, {shape[0].frames} frames at {shape[0].fps} FPS, "
            f"{shape[1].size}x{shape[1].size}."
        )


def terms(dataset: Dataset) -> list[str]:
    """The terms of each source, a sentence each, and what the dataset does not grant."""
    drawn = "drawn by this project as stand-ins, and under its licence"
    lines = [
        f"{facts.title}: {drawn if dataset.is_drawn(facts) else facts.terms}." for facts in dataset.present.values()
    ]
    size = dataset.settings.resize.size
    if not dataset.drawn:
        lines.append(f"The dataset holds frames of {size}x{size} pixels and grants no rights in the videos.")
    return lines
