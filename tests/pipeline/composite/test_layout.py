"""Layouts of shards: what there is stays where it is, and what is new comes after it."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.composite.layout import Member, Placed, extend, plan
from pipeline.params import Shard as Settings
from pipeline.records.rows import CompositeRow

SETTINGS = Settings(seed=0, max_clips=3, max_bytes=1 << 20)


def member(number, split="train", sha256="x"):
    row = CompositeRow(
        clip_id=f"c{number:03d}",
        source="own",
        class_id=0,
        class_name="x",
        labels=("x",),
        video_id="v",
        path="x.jpg",
        bytes=10,
        sha256=sha256,
        valid_frames=9,
    )
    return Member(row, split)


def placed(shards):
    """The places of the clips of these shards; offsets are numbers of clips."""
    return [
        Placed(clip.clip.clip_id, clip.split, clip.clip.sha256, shard.path, offset)
        for shard in shards
        for offset, clip in enumerate(shard.members)
    ]


def content(shards):
    return {shard.path: [clip.clip.clip_id for clip in shard.members] for shard in shards}


NUMBERS = st.sets(st.integers(0, 30))


@given(before=NUMBERS, after=NUMBERS)
def test_kept_clips_stay_in_their_shard_and_order_and_new_ones_come_after(before, after):
    old = list(plan([member(n, "test" if n % 3 == 0 else "train") for n in before], SETTINGS))
    now = [member(n, "test" if n % 3 == 0 else "train") for n in after]
    new = content(extend(placed(old), now, SETTINGS))
    ids = {clip.clip.clip_id for clip in now}
    remaining = {path: [name for name in names if name in ids] for path, names in content(old).items()}
    kept = {path: names for path, names in remaining.items() if names}
    assert {path: names for path, names in new.items() if path in content(old)} == kept
    assert sorted(name for names in new.values() for name in names) == sorted(ids)
    for path in new.keys() - content(old).keys():
        split = path.partition("-")[0]
        assert all(path > earlier for earlier in content(old) if earlier.partition("-")[0] == split)


def test_nothing_new_changes_nothing():
    members = [member(n) for n in range(10)]
    old = list(plan(members, SETTINGS))
    assert list(extend(placed(old), members, SETTINGS)) == old


def test_a_clip_with_other_pictures_or_another_split_is_a_new_one():
    old = list(plan([member(0), member(1), member(2)], SETTINGS))
    new = content(extend(placed(old), [member(0), member(1, sha256="y"), member(2, split="test")], SETTINGS))
    assert new == {
        "data/shards/train-000000.tar": ["c000"],
        "data/shards/train-000001.tar": ["c001"],
        "data/shards/test-000000.tar": ["c002"],
    }


def test_places_outside_the_folder_of_the_shards_are_not_kept():
    for path in ("data/shards/../train-000000.tar", "/tmp/train-000000.tar", "data/shards/test-000000.tar"):
        places = [Placed("c000", "train", "x", path, 0)]
        assert content(extend(places, [member(0)], SETTINGS)) == {"data/shards/train-000000.tar": ["c000"]}


def test_the_number_of_a_shard_that_has_gone_is_not_used_for_the_clips_that_come():
    old = list(plan([member(n) for n in range(6)], SETTINGS))
    last = {clip.clip.clip_id for clip in old[-1].members}
    now = [member(n) for n in range(7) if f"c{n:03d}" not in last]
    assert sorted(content(extend(placed(old), now, SETTINGS))) == [
        "data/shards/train-000000.tar",
        "data/shards/train-000002.tar",
    ]
