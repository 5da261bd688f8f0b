"""Writes the sample mirror: synthetic clips in the files of the datasets' hosts (CSVs, tars, id lists, a zip with JSON)."""

import csv
import gzip
import io
import json
import multiprocessing
import random
import shutil
import signal
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

from tqdm import tqdm

from common import lifetime, signals
from common.errors import WorkError
from common.files import write_bytes, write_json
from pipeline.runner import cores
from pipeline.sample.plan import DAMAGE, TRAIN_PARTS, VAL_PARTS, KineticsClip, Plan, Tube, make_plan
from pipeline.sample.render import ClipSpec, audio_only_mp4, render_clip

FORMAT = 1  # raised whenever the same seed gives other bytes: an older mirror is then drawn again
Render = Callable[[Iterable[ClipSpec], Iterable[str | None]], Iterator[bytes]]  # clips and their damages to members

_HOST = "https://s3.amazonaws.com/kinetics/400"
_WEB_PAGE = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>The video is gone.</body></html>\n"


def build_mirror(
    root: Path, *, seed: int = 0, workers: int | None = None, plan: Plan | None = None, show_progress: bool = True
) -> Path:
    """Draw the sample mirror into the folder `root`, unless it is complete already; takes about a minute on two cores.

    Args:
        seed: of the default plan; the same seed gives the same bytes for any number of workers.
        workers: processes; by default one per core.
        plan: another plan than the default one of `seed`.
        show_progress: show a progress bar, if stderr is a terminal.

    Returns:
        `root`.

    Raises:
        WorkError: a worker process died.
    """
    description = root / "sample.json"
    if _is_complete(description, seed):
        return root
    plan = plan or make_plan(seed)
    unfinished = root.with_name(f".{root.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    members = len(plan.kinetics) + len(plan.tubes) + sum(clip.repaired for clip in plan.kinetics)
    bar = tqdm(desc="drawing the sample", total=members, unit="clip", disable=None if show_progress else True)

    def render(specs: Iterable[ClipSpec], damages: Iterable[str | None]) -> Iterator[bytes]:
        for data in pool.map(render_member, specs, damages, chunksize=8):
            bar.update()
            yield data

    with bar, _make_pool(workers or cores()) as pool:
        try:
            _write_kinetics(unfinished / "kinetics/400", plan, render)
            _write_mini(unfinished / "mini-kinetics-200", plan)
            _write_tinyvirat(unfinished / "tinyvirat/TinyVIRAT.zip", plan, render)
        except BrokenProcessPool:
            raise WorkError("a process that draws the sample died (out of memory?): run the command again") from None
        except KeyboardInterrupt:  # the pool would wait for processes that were interrupted while they started
            for process in multiprocessing.active_children():
                lifetime.kill_group(process.pid)
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    write_json(unfinished / description.name, _describe(plan))
    shutil.rmtree(root, ignore_errors=True)
    unfinished.rename(root)
    return root


def _make_pool(workers: int) -> ProcessPoolExecutor:
    with signals.deferred():  # its queues start multiprocessing's resource tracker
        return ProcessPoolExecutor(workers, _Spawn(), _prepare_worker)


class _Worker(SpawnProcess):
    """A process that the pool may start at any time; signals are deferred meanwhile."""

    def start(self) -> None:
        with signals.deferred():
            super().start()


class _Spawn(SpawnContext):
    """A context whose processes are `_Worker`s."""

    Process = _Worker


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lifetime.end_with_parent()


def _is_complete(description: Path, seed: int) -> bool:
    try:
        known = json.loads(description.read_text())
        return bool(known["format"] == FORMAT and known["seed"] == seed)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def render_member(spec: ClipSpec, damage: str | None) -> bytes:
    """The bytes of one archive member: a healthy clip, or one with the named damage (see `plan.DAMAGE`)."""
    if damage in ("empty", "missing"):
        return b""
    if damage == "web_page":
        return _WEB_PAGE
    if damage == "noise":
        return random.Random(spec.key).randbytes(20_000)
    if damage == "sound_only":
        return audio_only_mp4()
    video = render_clip(spec)
    if damage in ("no_index", "cut_short"):
        return video[: int(len(video) * 0.6)]
    return video


def _write_kinetics(root: Path, plan: Plan, render: Render) -> None:
    for split, parts in (("train", TRAIN_PARTS), ("val", VAL_PARTS)):
        clips = [clip for clip in plan.kinetics if clip.split == split]
        ordered = sorted(clips, key=lambda clip: (clip.label, clip.youtube_id))
        header = ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
        rows = [[clip.label, clip.youtube_id, clip.start, clip.start + 10, split, 0] for clip in ordered]
        _write_csv(root / f"annotations/{split}.csv", header, rows)
        random.Random(f"{plan.seed}-{split}").shuffle(clips)
        names = [f"part_{number}.tar.gz" for number in range(parts)]
        listing = "".join(f"{_HOST}/{split}/{name}\n" for name in names)
        write_bytes(root / split / f"k400_{split}_path.txt", listing.encode())
        for number, name in enumerate(names):
            _write_tar(root / split / name, clips[number::parts], render, repaired=False)
    repaired = [clip for clip in plan.kinetics if clip.repaired]
    _write_tar(root / "replacement_for_corrupted_k400.tgz", repaired, render, repaired=True)
    test = [[f"test{number:07d}", 3, 13, "test"] for number in range(20)]
    _write_csv(root / "annotations/test.csv", ["youtube_id", "time_start", "time_end", "split"], test)
    write_bytes(root / "test/k400_test_path.txt", b"")


def _write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _write_tar(path: Path, clips: list[KineticsClip], render: Render, *, repaired: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    specs = [clip.spec for clip in clips]
    damages = [None if repaired else clip.damage for clip in clips]
    # Level 1, because video does not compress; gzip at all, because the host's archives are gzip files.
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", 1, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for clip, data in zip(clips, render(specs, damages), strict=True):
            if repaired or clip.damage != "missing":
                _add_to_tar(tar, clip.member, data)
        if not repaired:  # the host's archives also hold some clips that are in no CSV
            unlisted_id = random.Random(path.name).randbytes(6).hex()[:11]
            _add_to_tar(tar, f"{unlisted_id}_000000_000010.mp4", _WEB_PAGE)


def _add_to_tar(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _write_mini(root: Path, plan: Plan) -> None:
    for split in ("train", "val"):
        ids = [clip.youtube_id for clip in plan.kinetics if clip.split == split and clip.label in plan.mini_labels]
        random.Random(f"mini-{plan.seed}-{split}").shuffle(ids)
        write_bytes(root / f"{split}_ytid_list.txt", "".join(f"{video_id}\n" for video_id in ids).encode())


def _write_tinyvirat(path: Path, plan: Plan, render: Render) -> None:
    """Write version 1 of the archive; `path` in its lists is relative to videos/<split>/."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for split in ("train", "test"):
            tubes = [tube for tube in plan.tubes if tube.split == split]
            listing = {"tubes": [_tube_entry(tube) for tube in tubes]}
            _add_to_zip(archive, f"tiny_{split}.json", json.dumps(listing, indent=1).encode())
        specs = [tube.spec for tube in plan.tubes]
        damages = [tube.damage for tube in plan.tubes]
        for tube, data in zip(plan.tubes, render(specs, damages), strict=True):
            if tube.damage != "missing":
                _add_to_zip(archive, f"videos/{tube.split}/{tube.scene}/{tube.number}.mp4", data)


def _tube_entry(tube: Tube) -> dict[str, object]:
    return {
        "id": tube.number,
        "path": f"{tube.scene}/{tube.number}.mp4",
        "dim": [tube.spec.frames, tube.spec.width, tube.spec.height],
        "label": list(tube.labels),
    }


def _add_to_zip(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(2022, 1, 1, 0, 0, 0)), data)


def _describe(plan: Plan) -> dict[str, object]:
    """The content of sample.json: counts to compare the manifests with, and every broken member."""
    clips: list[KineticsClip | Tube] = [*plan.kinetics, *plan.tubes]
    broken = sorted((clip for clip in clips if clip.damage is not None), key=lambda clip: clip.clip_id)
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
                "expected": "ok" if isinstance(clip, KineticsClip) and clip.repaired else DAMAGE[clip.damage or ""],
            }
            for clip in broken
        ],
    }
