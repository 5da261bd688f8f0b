"""merge.where selects the clips that DuckDB selects by the same text, and refuses everything that is not its grammar."""

from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ParamError
from pipeline.composite import where
from pipeline.composite.where import COLUMNS, parse
from pipeline.params import Merge
from tests.pipeline.composite.clips import youtube_clip

MERGE = Merge("label_sets", 118, None, near_duplicates=10)


def clip(number, **facts):
    values = {"bytes": 100, "valid_frames": 50, "motion": 0.1, "sharpness": 0.1, "brightness": 0.5} | facts
    return youtube_clip(f"c{number}", **values)


def selected_by_duckdb(text, clips):
    """Ids of the clips for which DuckDB's WHERE is true."""
    table = pa.table({name: pa.array([getattr(c, name) for c in clips], kind) for name, kind in COLUMNS.items()})
    with duckdb.connect() as database:
        database.register("clips", table)
        return {clip_id for (clip_id,) in database.execute(f"SELECT clip_id FROM clips WHERE {text}").fetchall()}


def selected(text, clips):
    condition = parse(text)
    failing = {c.clip_id for c in condition.failing(clips)}
    return {c.clip_id for c in clips} - failing


CLIPS = [
    clip(0),
    clip(1, motion=0.0),
    clip(2, motion=0.02, duplicate_of="c0"),
    clip(3, official_split="val", in_minikinetics200=True),
    clip(4, official_split="it's", brightness=0.0, valid_frames=9),
    clip(5, motion=None, sharpness=None),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("motion > 0.02 and duplicate_of is null", "034"),
        ("motion >= 2e-2 AND duplicate_of IS NULL", "034"),
        ("not motion > 0.02", "12"),  # c5 has no motion: neither true nor false
        ("motion is not null and (brightness < .3 or valid_frames<50)", "4"),
        ("official_split in ('val', 'it''s')", "34"),
        ("official_split not in ('val')", "4"),
        ("official_split != 'val' or official_split is null", "01245"),
        ("in_minikinetics200", "3"),
        ("not in_minikinetics200 and source = 'youtube'", "01245"),
        ("in_minikinetics200 = false", "01245"),
        ("valid_frames > 9.5", "01235"),
        ("valid_frames IN (9, 50) and bytes <> -1", "012345"),
        ("duplicate_of = 'c0' or motion < 0.01 and brightness > 1", "2"),
    ],
)
def test_conditions_select_these_clips_and_duckdb_agrees(text, expected):
    assert selected(text, CLIPS) == {f"c{number}" for number in expected} == selected_by_duckdb(text, CLIPS)


_NUMBERS = st.sampled_from(["0", "0.02", "-1", "5e-1", "50", "100.0"])
_TEXTS = st.sampled_from(["'val'", "'train'", "''", "'c0'", "'a''b'"])


@st.composite
def _tests(draw):
    numeric = draw(st.booleans())
    name = draw(
        st.sampled_from(["motion", "valid_frames", "brightness"] if numeric else ["official_split", "duplicate_of"])
    )
    values = _NUMBERS if numeric else _TEXTS
    kind = draw(st.sampled_from(["compare", "null", "in", "flag"]))
    if kind == "compare":
        return f"{name} {draw(st.sampled_from(['=', '==', '!=', '<>', '<', '<=', '>', '>=']))} {draw(values)}"
    if kind == "null":
        return f"{name} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    if kind == "in":
        listed = ", ".join(draw(st.lists(values, min_size=1, max_size=3)))
        return f"{name} {draw(st.sampled_from(['', 'not ']))}in ({listed})"
    return "in_minikinetics200"


_CONDITIONS = st.recursive(
    _tests(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "OR"]), inner).map(" ".join),
        inner.map(lambda text: f"NOT ({text})"),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=8,
)
_FACTS = st.fixed_dictionaries(
    {
        "motion": st.sampled_from([None, 0.0, 0.02, 0.5]),
        "brightness": st.sampled_from([None, 0.0, 0.5, 1.0]),
        "valid_frames": st.sampled_from([0, 50, 100]),
        "official_split": st.sampled_from([None, "val", "train", "", "a'b"]),
        "duplicate_of": st.sampled_from([None, "c0"]),
        "in_minikinetics200": st.booleans(),
    }
)


@given(text=_CONDITIONS, facts=st.lists(_FACTS, min_size=1, max_size=12))
@settings(deadline=None, max_examples=150)
def test_any_condition_selects_what_duckdb_selects(text, facts):
    clips = [clip(number, **values) for number, values in enumerate(facts)]
    assert selected(text, clips) == selected_by_duckdb(text, clips)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("moton > 0.1", "there is no column 'moton': did you mean motion? columns are clip_id, source,"),
        ("class_name = 'run'", "there is no column 'class_name'"),
        ("labels = 'run'", "there is no column 'labels'"),
        ("motion > 'a lot'", "motion > 'a lot': motion is compared with a number"),
        ("motion > true", "motion > true: motion is compared with a number"),
        ("source = own", "source = own: source is compared with text in single quotes"),
        ("source > 3", "source > 3: source is compared with text in single quotes"),
        ("in_minikinetics200 > false", "in_minikinetics200 is true or false"),
        ("motion", "motion is followed by 'nothing', must be a comparison"),
        ("motion >", "motion is compared with a number"),
        ("0.1 < motion", "'0.1' where a column is expected"),
        ("motion > 0.1 motion < 1", "'motion' where AND, OR or the end is expected"),
        ("(motion > 0.1", "'the end' where ) is expected"),
        ("motion is 0", "'0' where NULL is expected"),
        ("motion in ()", "motion = ): motion is compared with a number"),
        ("", "'the end' where a column is expected"),
        ("motion > 0.1; drop table clips", "';' is not understood"),
        ("motion > 1_000", "'1_000' is not understood"),
        ("__import__('os')", "there is no column '__import__'"),
        ("__import__('os').system('x')", "\".system('x')\" is not understood"),
        ("@motion > 1", "'@motion' is not understood"),
        ("source = 'a", '"\'a" is not understood'),
        ("motion.real > 0", "'.real' is not understood"),
        ("not " * 60 + "in_minikinetics200", "more than 50 levels"),
        ("(" * 400 + "in_minikinetics200", "more than 50 levels"),
        ("motion > 1 or " * 300 + "motion > 1", "at most 2000 are allowed"),
    ],
)
def test_everything_else_is_refused_with_the_place_and_what_is_allowed(text, problem):
    with pytest.raises(ParamError) as caught:
        parse(text)
    assert str(caught.value).startswith("params.yaml: merge.where is ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_explanation_has_the_clip_s_values_and_the_condition():
    condition = parse("motion > 0.2\n  and duplicate_of is null and valid_frames > 9")
    assert condition.explain(clip(0)) == (
        "motion is 0.1, duplicate_of is null, valid_frames is 50: "
        "merge.where is motion > 0.2 and duplicate_of is null and valid_frames > 9"
    )


def test_no_condition_is_none_and_duplicates_need_a_distance():
    assert where.read(MERGE) is None
    assert where.read(replace(MERGE, where="duplicate_of is null")).columns == ("duplicate_of",)
    with pytest.raises(ParamError, match="names duplicate_of, which is null for all clips while"):
        where.read(replace(MERGE, where="duplicate_of is null", near_duplicates=None))


def test_thousands_of_clips_take_no_memory_of_their_own():
    clips = [clip(number, motion=number / 5000) for number in range(5000)]
    assert len(parse("motion >= 0.5").failing(clips)) == 2500
