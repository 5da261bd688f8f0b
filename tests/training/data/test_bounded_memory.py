"""Training on clips that do not fit in memory: a process whose memory is limited to less than its clips take."""

import io
import os
import subprocess
import sys
import tarfile
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import REPO
from tests.training import toy
from tests.training.toy import ToyClip

CLIPS, PER_SHARD = 600, 100  # 737 MB of frames
LIMIT = 300 << 20  # bytes beyond those of the imported modules

SCRIPT = textwrap.dedent("""
    import resource, sys
    import torch, webdataset
    from pathlib import Path
    from training.clips import Clips
    from training.data.windows import ClipWindows
    from training.engine.batches import BatchSampler
    from training.engine.task import Draw
    from training.models import model_config
    from training.models.masking import Masking

    storage, limit = sys.argv[1], int(sys.argv[2])
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    used = int(status["VmData"].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + limit, used + limit))
    clips = Clips()
    data = ClipWindows(clips, clips.rows, frames=16, stride=4, storage=storage)
    sample = BatchSampler(data, model_config("small_2x8x8"), Masking("tube", 0.9), 16, seed=0, buffer=200)
    frames = sum(len(sample(Draw(step, torch.Generator().manual_seed(step))).frames) for step in range(40))
    print("clips read:", frames)
""")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of 600 clips of one content."""
    root = tmp_path_factory.mktemp("large")
    (root / "data/shards").mkdir(parents=True)
    (root / "manifests").mkdir()
    content = toy.encode(toy.numbered_frames(1))
    frames = toy.numbered_frames(1)
    rows = []
    for first in range(0, CLIPS, PER_SHARD):
        shard = f"data/shards/train-{first // PER_SHARD:06d}.tar"
        with tarfile.open(root / shard, "w") as tar:
            for number in range(first, first + PER_SHARD):
                clip = ToyClip(f"n{number:04}", frames, number % 7)
                entry = tarfile.TarInfo(f"{clip.clip_id}.jpg")
                entry.size = len(content)
                rows.append(toy._row(clip, shard, tar.offset + 512, content))
                tar.addfile(entry, io.BytesIO(content))
    pq.write_table(pa.Table.from_pylist(rows), root / "manifests/shards.parquet")
    return root


def run(folder, storage):
    environment = os.environ | {
        "PYTHONPATH": str(REPO),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MALLOC_ARENA_MAX": "2",
    }
    command = [sys.executable, "-c", SCRIPT, storage, str(LIMIT)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
@pytest.mark.parametrize("storage", ["decode", "stream"])
def test_clips_larger_than_the_memory_of_the_process_are_read(folder, storage):
    result = run(folder, storage)
    assert "clips read: 640" in result.stdout, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux alone")
def test_the_same_clips_do_not_fit_in_the_memory_of_the_process(folder):
    result = run(folder, "memory")
    assert result.returncode != 0
    assert "not enough memory" in result.stderr or "MemoryError" in result.stderr or "can't allocate" in result.stderr
