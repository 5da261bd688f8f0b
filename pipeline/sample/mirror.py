"""The drawn clips laid out as the datasets' hosts lay out theirs: CSVs, tars, id lists, a zip with JSON."""

import csv
import gzip
import io
import json
import multiprocessing
import random
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from common.errors import WorkError
from common.files import write_bytes, write_json
from pipeline.runner import cores
from pipeline.sample.footage import Footage, film, silence
from pipeline.sample.plan import DAMAGE, TRAIN_PARTS, VAL_PARTS, KineticsClip, Plan, Tube, make_plan

FORMAT = 1  # raised when the same seed would give another mirror
_HOST = "https://s3.amazonaws.com/kinetics/400"
_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>The video is gone.</body></html>\n"


def build_mirror(
    root: Path, *, seed: int = 0, workers: int | None = None, plan: Plan | None = None, show_progress: bool = True
) -> Path:
    """Draw the sample corpus into `root`, or return at once when it is there already.

    The same seed gives the same bytes, whatever the number of workers. It takes about a minute on two cores.

    Raises:
        WorkError: a drawing process died.
    """
    described = root / "sample.json"
    if _is_drawn(described, seed):
        return root
    plan = plan or make_plan(seed)
    building = root.with_name(f".{root.name}-building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    jobs = len(plan.kinetics) + len(plan.tubes) + sum(clip.repaired for clip in plan.kinetics)
    bar = tqdm(desc="drawing the sample", total=jobs, unit="clip", disable=None if show_progress else True)
    with bar, ProcessPoolExecutor(workers or cores(), multiprocessing.get_context("spawn"), _ignore_interrupt) as pool:
        try:
            _write_kinetics(building / "kinetics/400", plan, pool, bar)
            _write_mini(building / "mini-kinetics-200", plan)
            _write_tinyvirat(building / "tinyvirat/TinyVIRAT.zip", plan, pool, bar)
        except BrokenProcessPool:
            raise WorkError(
                "a process that draws the sample died (out of memory?): run the same command again"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    write_json(building / described.name, _describe(plan))
    shutil.rmtree(root, ignore_errors=True)
    building.rename(root)
    return root


def _ignore_interrupt() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_drawn(described: Path, seed: int) -> bool:
    try:
        known = json.loads(described.read_text())
        return bool(known["format"] == FORMAT and known["seed"] == seed)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def render(job: tuple[Footage, str | None]) -> bytes:
    """The bytes of one member: a healthy clip, or one with the named damage (see `plan.DAMAGE`)."""
    footage, damage = job
    if damage in ("empty", "missing"):
        return b""
    if damage == "web_page":
        return _PAGE
    if damage == "noise":
        return random.Random(footage.key).randbytes(20_000)
    if damage == "sound_only":
        return silence()
    video = film(footage)
    if damage in ("no_index", "cut_short"):
        return video[: int(len(video) * 0.6)]
    return video


def _rendered(pool: ProcessPoolExecutor, bar: tqdm, jobs: Iterable[tuple[Footage, str | None]]) -> Iterator[bytes]:
    for data in pool.map(render, jobs, chunksize=8):
        bar.update()
        yield data


def _write_kinetics(root: Path, plan: Plan, pool: ProcessPoolExecutor, bar: tqdm) -> None:
    for split, parts in (("train", TRAIN_PARTS), ("val", VAL_PARTS)):
        clips = [clip for clip in plan.kinetics if clip.split == split]
        ordered = sorted(clips, key=lambda clip: (clip.label, clip.youtube_id))
        rows = [[clip.label, clip.youtube_id, clip.start, clip.start + 10, split, 0] for clip in ordered]
        _write_csv(
            root / f"annotations/{split}.csv", ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"], rows
        )
        random.Random(f"{plan.seed}-{split}").shuffle(clips)
        names = [f"part_{number}.tar.gz" for number in range(parts)]
        listing = "".join(f"{_HOST}/{split}/{name}\n" for name in names)
        write_bytes(root / split / f"k400_{split}_path.txt", listing.encode())
        for number, name in enumerate(names):
            _write_tar(root / split / name, clips[number::parts], pool, bar, repaired=False)
    _write_tar(
        root / "replacement_for_corrupted_k400.tgz", [c for c in plan.kinetics if c.repaired], pool, bar, repaired=True
    )
    test = [[f"test{number:07d}", 3, 13, "test"] for number in range(20)]
    _write_csv(root / "annotations/test.csv", ["youtube_id", "time_start", "time_end", "split"], test)
    write_bytes(root / "test/k400_test_path.txt", b"")


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _write_tar(path: Path, clips: list[KineticsClip], pool: ProcessPoolExecutor, bar: tqdm, *, repaired: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    jobs = [(clip.footage, None if repaired else clip.damage) for clip in clips]
    # Video does not compress; level 1 is there because the host's parts are gzip files.
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for clip, data in zip(clips, _rendered(pool, bar, jobs), strict=True):
            if repaired or clip.damage != "missing":
                _add(tar, clip.member, data)
        if not repaired:
            _add(tar, f"{_stranger(path)}_000000_000010.mp4", _PAGE)


def _stranger(path: Path) -> str:
    """The host's train archives hold some clips that are in no CSV."""
    return random.Random(path.name).randbytes(6).hex()[:11]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _write_mini(root: Path, plan: Plan) -> None:
    for split in ("train", "val"):
        ids = [clip.youtube_id for clip in plan.kinetics if clip.split == split and clip.label in plan.mini_labels]
        random.Random(f"mini-{plan.seed}-{split}").shuffle(ids)
        write_bytes(root / f"{split}_ytid_list.txt", "".join(f"{video_id}\n" for video_id in ids).encode())


def _write_tinyvirat(path: Path, plan: Plan, pool: ProcessPoolExecutor, bar: tqdm) -> None:
    """Version 1 of the archive; `path` in its lists is relative to videos/<split>/."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for split in ("train", "test"):
            tubes = [tube for tube in plan.tubes if tube.split == split]
            listing = {"tubes": [_tube_entry(tube) for tube in tubes]}
            _put(archive, f"tiny_{split}.json", json.dumps(listing, indent=1).encode())
        jobs = [(tube.footage, tube.damage) for tube in plan.tubes]
        for tube, data in zip(plan.tubes, _rendered(pool, bar, jobs), strict=True):
            if tube.damage != "missing":
                _put(archive, f"videos/{tube.split}/{tube.scene}/{tube.number}.mp4", data)


def _tube_entry(tube: Tube) -> dict[str, object]:
    footage = tube.footage
    return {
        "id": tube.number,
        "path": f"{tube.scene}/{tube.number}.mp4",
        "dim": [footage.frames, footage.width, footage.height],
        "label": list(tube.labels),
    }


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(2022, 1, 1, 0, 0, 0)), data)


def _describe(plan: Plan) -> dict[str, object]:
    """sample.json: the counts a reader can hold the manifests against, and every broken member."""
    every: list[KineticsClip | Tube] = [*plan.kinetics, *plan.tubes]
    broken = [clip for clip in every if clip.damage]
    return {
        "format": FORMAT,
        "seed": plan.seed,
        "kinetics400": {
            "classes": len({clip.label for clip in plan.kinetics}),
            "rows": dict(Counter(clip.split for clip in plan.kinetics)),
        },
        "minikinetics200": {"classes": len(plan.mini_labels)},
        "tinyvirat": {
            "label_sets": len({frozenset(tube.labels) for tube in plan.tubes}),
            "rows": dict(Counter(tube.split for tube in plan.tubes)),
        },
        "broken": [
            {
                "clip_id": clip.clip_id,
                "damage": clip.damage,
                "expected": "ok" if getattr(clip, "repaired", False) else DAMAGE[clip.damage or ""],
            }
            for clip in sorted(broken, key=lambda clip: clip.clip_id)
        ],
    }
