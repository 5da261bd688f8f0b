"""merge.where leaves clips out, spares replace them, and near-duplicates name the clip that the composite prefers."""

from dataclasses import replace

import pytest

from pipeline.composite.decisions import decide
from pipeline.composite.where import parse
from pipeline.params import Merge
from tests.pipeline.composite.clips import MULTI_LABEL, YOUTUBE, multi_label_clip, youtube_clip

MERGE = Merge("label_sets", 118, None, near_duplicates=4)
ONE, LIKE_ONE, OTHER = f"{0:064x}", f"{0b111:064x}", f"{(1 << 100) - 1:064x}"


def decided(clips, where=None, settings=MERGE):
    return decide(clips, settings, parse(where) if where else None, multi_label=MULTI_LABEL, youtube=YOUTUBE)


def statuses(decisions, clips):
    """`ok`, `spare` or a failure code of each clip."""
    return {
        clip.clip_id: str(decisions.left_out[clip.clip_id].code)
        if clip.clip_id in decisions.left_out
        else "spare"
        if clip.clip_id in decisions.spare
        else "ok"
        for clip in clips
    }


def moving(clip_id, rank, motion=0.1, **facts):
    return youtube_clip(clip_id, rank=rank, quota=2, motion=motion, **facts)


def test_spares_replace_filtered_clips_so_that_quotas_stay():
    clips = [moving("a", 0, 0.0), moving("b", 1), moving("c", 2), moving("d", 3), moving("e", 4, 0.0)]
    assert statuses(decided(clips), clips) == {"a": "ok", "b": "ok", "c": "spare", "d": "spare", "e": "spare"}
    found = decided(clips, "motion > 0.02")
    assert statuses(found, clips) == {"a": "filtered", "b": "ok", "c": "ok", "d": "spare", "e": "filtered"}
    assert found.left_out["a"].detail == "motion is 0: merge.where is motion > 0.02"
    assert sorted(found.kept) == ["b", "c"]


def test_a_spare_that_is_like_a_kept_clip_does_not_displace_it():
    clips = [moving("z", 0, fingerprint=LIKE_ONE), moving("b", 1, fingerprint=OTHER)]
    clips += [moving("c", 2, fingerprint=ONE), moving("d", 3)]
    found = decided(clips, "duplicate_of is null")
    assert found.duplicate_of == {"c": "z"}
    assert statuses(found, clips) == {"z": "ok", "b": "ok", "c": "filtered", "d": "spare"}


def test_of_clips_that_are_alike_one_of_the_composite_comes_before_an_earlier_spare():
    spare = youtube_clip("a", source="tubes", quota=0, fingerprint=ONE)
    kept = youtube_clip("k", fingerprint=LIKE_ONE)
    assert decided([spare, kept]).duplicate_of == {"a": "k"}


def test_near_duplicates_of_several_classes_are_marked_and_stay():
    clips = [youtube_clip("a", "run", rank=0, fingerprint=ONE), youtube_clip("b", "jump", rank=1, fingerprint=LIKE_ONE)]
    found = decided(clips)
    assert found.duplicate_of == {"b": "a"}
    assert statuses(found, clips) == {"a": "ok", "b": "ok"}


def test_an_exact_duplicate_fails_as_such_and_names_the_kept_clip():
    clips = [youtube_clip(name, sha256="x", rank=rank, fingerprint=ONE) for rank, name in enumerate("ab")]
    found = decided(clips, "duplicate_of is null")
    assert statuses(found, clips) == {"a": "ok", "b": "duplicate"}
    assert found.duplicate_of == {"b": "a"}


def test_clips_without_a_fingerprint_are_no_near_duplicates():
    assert decided([youtube_clip("a"), youtube_clip("b")]).duplicate_of == {}


def test_without_a_distance_nothing_is_a_near_duplicate():
    clips = [youtube_clip("a", fingerprint=ONE), youtube_clip("b", fingerprint=ONE)]
    assert decided(clips, settings=replace(MERGE, near_duplicates=None)).duplicate_of == {}


def test_content_with_two_labels_is_left_out_even_if_one_of_its_clips_is_filtered():
    clips = [youtube_clip("a", "run", sha256="x", video_id="v"), youtube_clip("b", "jump", sha256="x", video_id="w")]
    assert set(statuses(decided(clips, "video_id = 'v'"), clips).values()) == {"conflicting_label"}


def test_filtered_clips_make_no_label_set_a_class():
    clips = [
        multi_label_clip("a", "walk", "talk"),
        multi_label_clip("b", "walk", "talk"),
        multi_label_clip("c", "walk"),
    ]
    clips = [replace(clip, motion=0.0 if clip.clip_id in "ab" else 0.1) for clip in clips]
    one_set = replace(MERGE, label_sets=1)
    assert {name.name for name in decided(clips, settings=one_set).classes.values()} == {"talk + walk", "walk"}
    found = decided(clips, "motion > 0", one_set)
    assert {clip_id: name.name for clip_id, name in found.classes.items()} == {"c": "walk"}


@pytest.mark.parametrize("where", [None, "motion > 0.02 and duplicate_of is null"])
def test_decisions_do_not_depend_on_the_order_of_the_clips(where):
    prints = [ONE, LIKE_ONE, OTHER, ONE, None, OTHER]
    clips = [moving(f"c{n}", n, (n % 3) / 10, fingerprint=fingerprint) for n, fingerprint in enumerate(prints)]
    one, other = decided(clips, where), decided(clips[::-1], where)
    assert statuses(one, clips) == statuses(other, clips)
    assert (one.duplicate_of, one.kept_sets, dict(one.classes)) == (
        other.duplicate_of,
        other.kept_sets,
        dict(other.classes),
    )
