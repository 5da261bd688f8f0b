"""The dataset card: content, sources and terms, valid as a Hugging Face card."""

import dataclasses

import pytest
import yaml

from pipeline import params
from pipeline.composite import card
from pipeline.records.facts import SourceFacts
from pipeline.records.rows import ShardRow

FACTS = {
    "hosted": SourceFacts(title="Sports-9", citation="Sports-9 (A. et al. 2020)", terms="CC BY 4.0"),
    "tubes": SourceFacts(title="Tubes", citation="Tubes (B. et al. 2021)", terms="research only", multi_label=True),
    "own": SourceFacts(title="a folder", citation="a folder of labelled videos", terms="its owner's", hosted=False),
}


def shard_row(clip_id, source, class_id, split="train"):
    return ShardRow(
        clip_id=clip_id,
        source=source,
        class_id=class_id,
        class_name=str(class_id),
        split=split,
        valid_frames=20,
        sha256="",
        shard=f"data/shards/{split}-000000.tar",
        offset=512,
        length=100,
    )


@pytest.fixture
def settings(project):
    return params.load()


def render(rows, settings, *sources):
    facts = {name: FACTS[name] for name in sources}
    return card.render(rows, {"train-000000.tar": "abc", "test-000000.tar": "def"}, facts, settings)


def test_counts_per_split_and_source(settings):
    rows = [shard_row(f"{n}", "hosted", n % 3) for n in range(1200)] + [shard_row("x", "tubes", 3, "test")]
    text = render(rows, settings, "hosted", "tubes")
    assert "# Composite action dataset: Sports-9, Tubes\n" in text
    assert "1,201 clips of 4 classes; 100 frames at 10 FPS, 64x64." in text
    assert "| train | 3 | 1,200 |\n| test | 1 | 1 |\n" in text
    assert "| hosted | 1,200 | 3 | Sports-9 (A. et al. 2020) | CC BY 4.0 |\n" in text
    assert "| tubes | 1 | 1 | Tubes (B. et al. 2021) | research only |\n" in text
    assert "| test-000000.tar | `def` |\n| train-000000.tar | `abc` |\n" in text
    assert text.endswith("|\n")


def test_header_is_yaml_that_names_each_split_and_the_size(settings):
    text = render(
        [shard_row(split, "own", n, split) for n, split in enumerate(("train", "val", "test"))], settings, "own"
    )
    header = yaml.safe_load(text.split("---")[1])
    assert header["configs"][0]["data_files"] == [
        {"split": "train", "path": "train-*.tar"},
        {"split": "validation", "path": "val-*.tar"},
        {"split": "test", "path": "test-*.tar"},
    ]
    assert header["size_categories"] == ["n<1K"]


def test_class_rule_is_given_for_multi_label_sources_only(settings):
    text = render([shard_row("a", "tubes", 0), shard_row("b", "own", 1)], settings, "tubes", "own")
    assert "- class rule `label_sets`: a Tubes clip's class is its set of labels" in text
    text = render([shard_row("a", "own", 0)], settings, "tubes", "own")
    assert "- a clip's class is its label\n" in text


def test_folders_alone_are_not_called_a_composite(settings):
    assert "# Action dataset\n" in render([shard_row("a", "own", 0)], settings, "own")


def test_shape_and_format_follow_the_params(settings):
    changed = dataclasses.replace(
        settings,
        resample=dataclasses.replace(settings.resample, frames=64),
        resize=dataclasses.replace(settings.resize, size=112, format="webp"),
    )
    text = render([shard_row("a", "own", 0)], changed, "own")
    assert (
        "`<clip_id>.webp` is a filmstrip: the clip's 64 frames under one another in one image, 112 wide and 7168"
        in text
    )
    assert 'sample["webp"]' in text
    assert "frames = strip.reshape(64, 112, 112, 3)" in text


def test_synthetic_clips_are_called_so(settings):
    rows = [shard_row("a", "own", 0)]
    assert "Every clip is drawn" not in render(
        rows, settings, "own"
    )  # a folder's clips are its owner's with any corpus
    hosted = [shard_row("a", "hosted", 0)]
    assert "Every clip is drawn" in render(hosted, settings, "hosted")
    assert "Every clip is drawn" not in render(hosted, dataclasses.replace(settings, corpus="full"), "hosted")
