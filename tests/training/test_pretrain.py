"""The clips that pretrain takes."""

import pytest

from common.errors import ParamError
from tests.training import toy
from training import pretrain
from training.clips import Clips


@pytest.fixture
def clips(here):
    drawn = toy.orbit_clips(classes=4, held_out=2, per_class=2, ticks=4, size=16)
    toy.write_shards(here, drawn)
    found = Clips()
    sources = ("kinetics400", "tinyvirat", "kinetics400", "tinyvirat")
    rows = [row for row in found.rows if row.split == "train"]
    for row, source in zip(rows, sources, strict=True):
        object.__setattr__(row, "source", source)
    return found


def test_clips_are_of_the_training_classes_and_of_the_sources(clips):
    assert len(pretrain.select_sources(clips, None)) == 4
    chosen = pretrain.select_sources(clips, ["kinetics400"])
    assert [clip.source for clip in chosen] == ["kinetics400"] * 2
    assert all(clip.split == "train" for clip in pretrain.select_sources(clips, ["kinetics400", "tinyvirat"]))


@pytest.mark.parametrize("sources", [["kinetics"], ["kinetics400", "toy"], []])
def test_sources_without_training_clips_are_named(clips, sources):
    message = (
        r"params.yaml: pretrain.sources is \[.*\]: must name some of kinetics400, tinyvirat, which have training clips"
    )
    with pytest.raises(ParamError, match=message):
        pretrain.select_sources(clips, sources)
