"""Kinetics-400's annotation lists and quotas."""

import tracemalloc

import pytest

from common.errors import WorkError
from pipeline.sources.clips import Annotation
from pipeline.sources.kinetics400.annotations import clip_id_of, member_name, parse_list
from pipeline.sources.kinetics400.quotas import ClassQuotas, even_quotas
from tests.pipeline.mirror import HEADER

ID = "0123456789a"


def test_the_three_published_forms_of_the_list_are_read():
    with_cc = parse_list(
        HEADER + f'abseiling,{ID},7,17,train,0\n"dancing, ""salsa""",-_345678901,0,10,train,0\n', "train", "k"
    )
    assert [(clip.clip_id, clip.labels, clip.start_s) for clip in with_cc] == [
        (f"k400-{ID}-000007-000017", ("abseiling",), 7.0),
        ("k400--_345678901-000000-000010", ('dancing, "salsa"',), 0.0),
    ]
    later = parse_list(f"label,youtube_id,time_start,time_end,split\nx,{ID},7,17,validate\n", "val", "k")
    assert later[0].official_split == "val"
    test = parse_list(f"youtube_id,time_start,time_end,split\n{ID},7,17,test\n", "test", "k")
    assert test[0].labels == ()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty"),
        (
            "<!DOCTYPE html>\n<html><body>Access denied</body></html>\n",
            "lacks the columns youtube_id, time_start, time_end",
        ),
        (f"label,youtube_id,start\nx,{ID},1\n", "lacks the columns time_start, time_end: not a Kinetics list"),
        (HEADER, "lists no clips"),
        (HEADER + "x,short,1,11,train,0\n", "line 2: 'short' is not a YouTube id"),
        (HEADER + "x,../../etc/pw,1,11,train,0\n", r"line 2: '\.\./\.\./etc/pw' is not a YouTube id"),
        (
            HEADER + f"x,{ID},1,11,train,0\nx,{ID},ten,11,train,0\n",
            "line 3: time_start and time_end are 'ten' and '11'",
        ),
        (HEADER + f"x,{ID}\n", "line 2: time_start and time_end are '' and ''"),
        (HEADER + f"x,{ID},inf,inf,train,0\n", "line 2: time_start and time_end are 'inf' and 'inf'"),
        (HEADER + f"x,{ID},nan,11,train,0\n", "line 2: time_start and time_end are 'nan' and '11'"),
        (HEADER + f"x,{ID},3,1,train,0\n", "line 2: the clip lasts from 3 to 1 s"),
        (HEADER + f"x,{ID},11,11,train,0\n", "line 2: the clip lasts from 11 to 11 s"),
        (HEADER + f"x,{ID},1,1000000,train,0\n", "line 2: the clip lasts from 1 to 1000000 s: must be a span within 0"),
        (HEADER + "x," + "a" * 200_000 + ",1,11,train,0\n", "is not CSV: field larger than field limit"),
        ("\x00\x01\x02", "lacks the columns"),
    ],
)
def test_invalid_list_is_an_error_that_names_the_line_and_the_value(text, error):
    with pytest.raises(WorkError, match=rf"^train\.csv of k.*{error}") as caught:
        parse_list(text, "train", "k")
    assert "\n" not in str(caught.value)


def test_list_is_read_up_to_its_first_invalid_row_and_to_a_bound(monkeypatch):
    monkeypatch.setattr("pipeline.sources.kinetics400.annotations._MAX_CLIPS", 2)
    row = f"x,{ID},1,11,train,0\n"
    assert len(parse_list(HEADER + 2 * row, "train", "k")) == 2
    with pytest.raises(WorkError, match=r"^train\.csv of k has more than 2 clips: not a Kinetics list"):
        parse_list(HEADER + 3 * row, "train", "k")
    tracemalloc.start()
    with pytest.raises(WorkError, match="line 2: '' is not a YouTube id"):
        parse_list(HEADER + ",\n" * 1_000_000, "train", "k")
    assert tracemalloc.get_traced_memory()[1] < 50_000_000  # 400 MB of dictionaries, if all rows were read first
    tracemalloc.stop()


@pytest.mark.parametrize("name", [f"{ID}_000007_000017.mp4", f"./{ID}_000007_000017.mp4"])
def test_member_name_and_clip_id_agree(name):
    (clip,) = parse_list(HEADER + f"x,{ID},7,17,train,0\n", "train", "k")
    assert clip_id_of(name) == clip.clip_id
    assert member_name(clip) == f"{ID}_000007_000017.mp4"


@pytest.mark.parametrize(
    "name", ["", "a/b.mp4", f"../{ID}_000007_000017.mp4", f"{ID}_7_17.mp4", f"{ID}_000007_000017.avi"]
)
def test_other_member_names_are_not_clips(name):
    assert clip_id_of(name) is None


# Quotas


def test_quotas_are_even_and_add_up():
    quota = even_quotas(["a", "b", "c", "a"], 11, seed=0)
    assert sum(quota.values()) == 11
    assert sorted(quota.values()) == [3, 4, 4]
    assert quota == even_quotas(["c", "b", "a"], 11, seed=0)
    assert even_quotas([], 11, seed=0) == {}


def annotate(*clips):
    """Annotations by clip_id of (clip_id, label, whether on MiniKinetics-200's lists)."""
    return {
        clip_id: Annotation(clip_id, "k", clip_id, (label,), in_minikinetics200=mini) for clip_id, label, mini in clips
    }


def test_clips_are_selected_in_order_until_quota_and_reserve_are_met():
    quotas = ClassQuotas(annotate(*[(name, "run", False) for name in "abcdef"]), {"run": 2}, reserve=1)
    assert quotas.select("xaabcdef") == ["a", "b", "c"]
    quotas.record("a", healthy=True)
    quotas.record("b", healthy=False)
    assert quotas.shortage() == {"run": 1}
    assert quotas.select("abcdef") == ["c", "d"]
    quotas.record("c", healthy=True)
    assert (quotas.shortage(), quotas.need("train")) == ({}, True)
    quotas.record("d", healthy=True)
    assert not quotas.need("train")
    assert quotas.select("abcdef") == []


def test_replaced_clip_counts_once_it_is_healthy():
    quotas = ClassQuotas(annotate(("a", "run", False)), {"run": 1}, reserve=0)
    quotas.record("a", healthy=False)
    assert quotas.shortage() == {"run": 1}
    quotas.record("a", healthy=True)
    assert not quotas.need("train")


def test_class_that_the_subset_can_fill_twice_is_filled_from_the_subset_alone():
    clips = annotate(
        ("a", "run", False), ("b", "run", True), ("c", "run", True), ("d", "sit", False), ("e", "sit", True)
    )
    quotas = ClassQuotas(clips, {"run": 1, "sit": 1}, reserve=0)
    assert quotas.select("abcde") == ["b", "d"]


def test_candidates_are_untried_clips_of_classes_that_lack_some_with_the_subset_first():
    clips = annotate(("a", "run", False), ("b", "run", False), ("c", "run", True), ("d", "sit", False))
    quotas = ClassQuotas(clips, {"run": 2, "sit": 1}, reserve=0)
    quotas.record("b", healthy=False)
    quotas.record("d", healthy=True)
    assert [clip.clip_id for clip in quotas.candidates()] == ["c", "a"]


def test_archives_of_a_split_are_needed_while_they_may_have_an_untried_clip_of_a_class_that_lacks_clips():
    clips = [
        Annotation(name, "k", name, (label,), split)
        for name, label, split in (("a", "run", "train"), ("b", "run", "val"), ("c", "sit", "train"))
    ]
    quotas = ClassQuotas({clip.clip_id: clip for clip in clips}, {"run": 2, "sit": 1}, reserve=0)
    assert (quotas.need("train"), quotas.need("val"), quotas.need("test")) == (True, True, False)
    quotas.record("c", healthy=True)
    quotas.record("a", healthy=False)
    quotas.record("a", healthy=False)
    assert (quotas.need("train"), quotas.need("val")) == (False, True)
    quotas.record("b", healthy=True)
    assert not quotas.need("val")
    assert quotas.shortage() == {"run": 1}
