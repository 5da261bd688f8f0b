"""Few-shot subsets of Kinetics-400: their lists, read strictly, and joined to Kinetics-400's own."""

import hashlib
import re
import tracemalloc

import pytest

from common.errors import ParamError, WorkError
from pipeline import sources
from pipeline.fetch.hosts import Hosts
from pipeline.fetch.site import Site
from pipeline.sources.clips import Annotation
from pipeline.sources.kinetics400.subsets import CMN, PublishedList, join, parse_subset_list, read_subset
from tests.pipeline.mirror import video_ids, write_file, write_subset

ID = "-_345678901"
A, B, C, D = video_ids("abcd")
LISTS = {"train": [("run", A), ("run", B)], "val": [("sit", C)], "test": [("jump up", D)]}


def read(folder, published=None):
    return read_subset(Hosts(), str(folder), published, "k")


def test_a_line_names_class_video_and_times():
    (clip,) = parse_subset_list(f"air drumming/{ID}_000012_000022\n", "val", "k")
    assert clip == Annotation(
        f"k400-{ID}-000012-000022", "k", ID, ("air drumming",), official_split="val", start_s=12.0, end_s=22.0
    )


@pytest.mark.parametrize(
    "line",
    [
        "run",
        "run/",
        "run/short_000000_000010",
        f"run/{ID}",
        f"run/{ID}_0_10",
        f"run/{ID}_000010_000010",
        f"run/{ID}_000000_000010.mp4",
        f"run/{ID}_000000_000010 ",
        f"run/{ID}_00000٣_000010",
        f"/{ID}_000000_000010",
        f" /{ID}_000000_000010",
        f"../../etc/{ID}_000000_000010",
        f"run/../{ID}_000000_000010",
        f"ru\x1bn/{ID}_000000_000010",
        f"run\r/{ID}_000000_000010",
        "label,youtube_id,time_start,time_end,split,is_cc",
        "<!DOCTYPE html>",
    ],
)
def test_another_line_is_an_error_that_quotes_it(line):
    text = f"run/{A}_000000_000010\n\n{line}\n"
    with pytest.raises(WorkError, match=r"^test\.list of k, line 3: .* is not CLASS/YOUTUBE_ID_START_END$") as caught:
        list(parse_subset_list(text, "test", "k"))
    assert str(caught.value).isprintable()


def test_the_lists_of_a_folder_are_read_with_any_line_ends(tmp_path):
    write_subset(tmp_path, **LISTS)
    clips = read(tmp_path)
    assert [(clip.labels[0], clip.video_id, clip.official_split) for clip in clips.values()] == [
        (label, video, split) for split, listed in LISTS.items() for label, video in listed
    ]
    for path in tmp_path.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert read(tmp_path) == clips


def test_the_lists_are_read_from_their_place_in_a_mirror(tmp_path):
    write_subset(tmp_path / "kinetics-100", **LISTS)
    hosts = Hosts((Site(CMN, "kinetics-100"),), str(tmp_path))
    assert read_subset(hosts, None, None, "k") == read(tmp_path / "kinetics-100")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("train", f"run/{A}_000000_000010\n" * 2, f"train.list of k: k400-{A}-000000-000010 is listed twice"),
        ("val", f"sit/{A}_000000_000010\n", f"val.list of k: k400-{A}-000000-000010 is listed twice"),
        ("val", f"Run/{C}_000000_000010\n", "val.list of k: class 'Run' is in train.list too"),
        ("val", "\n\n", "val.list of k lists no clips"),
        ("test", f"jump up/{D}_000000_0000", "test.list of k, line 1: 'jump up/ddddddddddd_000000_0000' is not CLASS"),
        ("test", b"caf\xe9/x\n", "test.list is not UTF-8 text: not an annotation list"),
        ("test", None, "sources.k.lists: .*test.list is not there$"),
    ],
)
def test_lists_that_are_damaged_or_contradict_each_other_are_an_error(tmp_path, name, content, error):
    write_subset(tmp_path, **LISTS)
    if content is None:
        (tmp_path / f"{name}.list").unlink()
    else:
        write_file(tmp_path / f"{name}.list", content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WorkError, match=error):
        read(tmp_path)


def test_other_lists_than_the_published_ones_are_an_error_that_counts_them(tmp_path):
    write_subset(tmp_path, **LISTS)
    published = {
        split: PublishedList(hashlib.sha256((tmp_path / f"{split}.list").read_bytes()).hexdigest(), 1, len(listed))
        for split, listed in LISTS.items()
    }
    assert len(read(tmp_path, published)) == 4
    write_subset(tmp_path, train=LISTS["train"][:1])  # cut at the end of a line
    with pytest.raises(WorkError) as caught:
        read(tmp_path, published)
    assert re.fullmatch(
        r"train\.list of k is not the published one: it has 1 clips of 1 classes and the sha256 [0-9a-f]{12}…, "
        r"not 2 of 1 and [0-9a-f]{12}…; `subset: lists` takes other lists",
        str(caught.value),
    )


def test_a_list_of_ten_million_lines_is_read_up_to_a_bound(tmp_path):
    write_subset(tmp_path, **LISTS)
    write_file(tmp_path / "val.list", b"\n" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(WorkError, match=r"val\.list of k has more than 1,000,000 lines: not a list of clips"):
        read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 150_000_000
    tracemalloc.stop()
    write_file(tmp_path / "val.list", f"run/{A}_000000_000010\n".encode() * 2_500_000)
    with pytest.raises(WorkError, match=r"val\.list is larger than 64 MB: not an annotation list"):
        read(tmp_path)


# The join


def annotation(video, label, split="train"):
    labels = (label,) if label else ()
    return Annotation(f"k400-{video}-000000-000010", "k", video, labels, split, 0.0, 10.0)


def listed(**classes):
    return {clip.clip_id: clip for video, label in classes.items() for clip in [annotation(video * 11, label, "val")]}


def test_labels_and_archives_are_those_of_kinetics_and_the_official_split_is_that_of_the_list():
    annotated = [annotation(A, "Run"), annotation(B, "Run", "val"), annotation(C, "Run"), annotation(D, "sit")]
    clips = join(listed(a="run", b="run"), annotated, "k")
    assert list(clips.usable.values()) == annotated[:2]
    assert not clips.others
    assert clips.annotated == {"train": 3, "val": 1}
    assert set(clips.splits.values()) == {"val"}


def test_the_list_decides_between_several_labels_and_gives_a_label_to_clips_without():
    annotated = [annotation(A, "run"), annotation(A, "sit"), annotation(B, "", "test")]
    clips = join(listed(a="sit", b="run"), annotated, "k")
    assert [(clip.labels, clip.official_split) for clip in clips.usable.values()] == [
        (("sit",), "train"),
        (("run",), "test"),
    ]


def test_clip_of_another_class_fails_and_one_that_kinetics_lacks_may_be_in_any_archive():
    clips = join(listed(a="run", b="run"), [annotation(A, "sit"), annotation(C, "run")], "k")
    (failed,) = clips.others
    assert (failed.error, failed.error_detail) == ("conflicting_label", "listed as run, annotated as sit")
    ((clip_id, clip),) = clips.usable.items()
    assert (clip_id, clip.labels, clip.official_split) == (f"k400-{B}-000000-000010", ("run",), None)


def test_aliases_are_one_class():
    (clip,) = join(listed(a="massaging persons head"), [annotation(A, "massaging person's head")], "k").usable.values()
    assert clip.labels == ("massaging person's head",)


def test_unknown_class_is_an_error():
    error = r"^the lists of k have a class that no list of Kinetics-400 has: '\.\.' \(and 1 more\)$"
    with pytest.raises(WorkError, match=error):
        join(listed(a="run", b="..", c="zz"), [annotation(A, "run")], "k")


# params.yaml


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"subset": "kinetics200"}, r"sources\.k\.subset is 'kinetics200': must be one of kinetics100, lists"),
        ({"subset": "lists"}, r"sources\.k: lists is missing: a folder or URL with train\.list"),
        ({"lists": "folder"}, r"sources\.k: lists is 'folder': must be null, unless subset is kinetics100 or lists"),
    ],
)
def test_invalid_entry_is_named(values, error):
    with pytest.raises(ParamError, match=error):
        sources.parse({"k": {"kind": "kinetics400", **values}})


def test_sources_with_listed_clips():
    entries = {"k": {"kind": "kinetics400"}, "t": {"kind": "tinyvirat"}}
    assert sources.with_listed_clips(entries) == set()
    entries["k"]["subset"] = "kinetics100"
    assert sources.with_listed_clips(entries) == {"k"}


def test_minikinetics_beside_a_subset_is_an_error(project):
    for split in ("train", "val"):
        write_file(project.root / f"mirror/mini-kinetics-200/{split}_ytid_list.txt", b"")
    kinetics = {"kind": "kinetics400", "subset": "kinetics100"}
    project.set(corpus="mirror", sources={"k": kinetics, "m": {"kind": "minikinetics200"}})
    with pytest.raises(ParamError, match=r"sources\.k\.subset is kinetics100: sources\.m must be removed"):
        project.run("download")
