"""A small mirror of Kinetics-400 in its host's layout."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import Project

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
Member = tuple[str, bytes | tarfile.TarInfo]  # name and content, or a header without content


def write_file(path: Path, data: bytes) -> Path:
    """Write `data` to `path`; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def write_tar_gz(path: Path, members: Iterable[Member], *, cut: int | None = None) -> None:
    """Write a tar.gz, of which the first `cut` bytes only if given."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in members:
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_file(path, gzip.compress(raw.getvalue(), 1, mtime=0)[:cut])


def mirror_kinetics(
    project: Project,
    rows: Iterable[tuple[str, str, int]],
    parts: Sequence[Mapping[str, Any]],
    *,
    clips: int,
    reserve: int = 0,
) -> Project:
    """Write the mirror into the project, and make it its one source.

    Args:
        rows: label, YouTube id and start in seconds of the train list's clips of ten seconds.
        parts: archives of the train split, as arguments of `write_tar_gz`.
        clips: `download.kinetics_clips`.
        reserve: `download.reserve_per_class`.
    """
    root = project.root / "mirror/kinetics/400"
    text = HEADER + "".join(f"{label},{video},{start},{start + 10},train,0\n" for label, video, start in rows)
    write_file(root / "annotations/train.csv", text.encode())
    host = "https://s3.amazonaws.com/kinetics/400/train"
    urls = "".join(f"{host}/part_{number}.tar.gz\n" for number in range(len(parts)))
    write_file(root / "train/k400_train_path.txt", urls.encode())
    for number, part in enumerate(parts):
        write_tar_gz(root / f"train/part_{number}.tar.gz", **part)
    return project.set(
        corpus="mirror",
        sources={"kinetics400": {"kind": "kinetics400"}},
        download__kinetics_splits=["train"],
        download__kinetics_clips=clips,
        download__reserve_per_class=reserve,
    )


def write_subset(folder: Path, **lists: Iterable[tuple[str, str]]) -> Path:
    """Write few-shot lists, `train=`, `val=` and `test=`, of classes and YouTube ids of clips from 0 to 10 seconds."""
    for split, clips in lists.items():
        text = "".join(f"{label}/{video}_000000_000010\n" for label, video in clips)
        write_file(folder / f"{split}.list", text.encode())
    return folder


def clip_member(video: str, start: int = 0) -> str:
    """The name in an archive of a clip of ten seconds."""
    return f"{video}_{start:06d}_{start + 10:06d}.mp4"


def video_ids(letters: str) -> list[str]:
    """A YouTube id for each letter."""
    return [letter * 11 for letter in letters]
