"""The dataset card beside the shards, in Hugging Face's format: content, sources, terms, how it was made."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.composite.dataset import PREVIEW, PREVIEW_PICTURE, PREVIEW_TAR
from pipeline.params import PipelineParams
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import SPLITS, ShardRow

_RULES = {
    "label_sets": "a {titles} clip's class is its set of labels; rarer sets join the most frequent kept set in them",
    "first_label": "a {titles} clip's class is its first label",
    "source_video": "a {titles} clip's class is the video it was cut from",
}
_SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Part:
    """The clips of one split or source."""

    name: str
    clips: int
    classes: int

    @classmethod
    def of(cls, name: str, rows: Iterable[ShardRow]) -> "Part":
        """Count the rows of the part."""
        classes = [row.class_id for row in rows]
        return cls(name, len(classes), len(set(classes)))


def render(
    rows: Sequence[ShardRow],
    digests: Mapping[str, str],
    facts: Mapping[str, SourceFacts],
    settings: PipelineParams,
    *,
    preview: Collection[str] = (),
) -> str:
    """The text of the card.

    Args:
        digests: sha256 of every shard, by file name.
        facts: of the sources, by name, in the order of params.yaml.
        preview: names of the files of animated clips.
    """
    present = {name: source for name, source in facts.items() if any(row.source == name for row in rows)}
    multi_label = [source.title for source in present.values() if source.multi_label]
    # Markdown, not HTML: nothing is escaped. Names of sources and shards are letters, digits, `-` and `_`.
    environment = Environment(
        loader=PackageLoader("pipeline.composite"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("dataset_card.md.jinja").render(
        title=_title(facts),
        size_category=next((name for limit, name in _SIZE_CATEGORIES if len(rows) < limit), "n>1M"),
        whole=Part.of("", rows),
        splits=[
            Part.of(split, (row for row in rows if row.split == split))
            for split in SPLITS
            if any(row.split == split for row in rows)
        ],
        sources=[(Part.of(name, (row for row in rows if row.source == name)), present[name]) for name in present],
        drawn=settings.corpus == "sample" and all(source.hosted for source in present.values()),
        preview=PREVIEW if PREVIEW in preview else None,
        preview_tar=PREVIEW_TAR if PREVIEW_TAR in preview else None,
        preview_picture=PREVIEW_PICTURE if PREVIEW_PICTURE in preview else None,
        class_rule=_RULES[settings.merge.class_rule].format(titles=" or ".join(multi_label)) if multi_label else None,
        shards=sorted(digests.items()),
        settings=settings,
    )


def _title(facts: Mapping[str, SourceFacts]) -> str:
    hosted = [source.title for source in facts.values() if source.hosted]
    return "Composite action dataset: " + ", ".join(hosted) if hosted else "Action dataset"
