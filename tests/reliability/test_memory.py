"""Files that ask for too much memory fail alone and with a code, through the real stages, in workers of bounded memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Project
from tests.pipeline.draw import frame_times, write_video
from tests.pipeline.video.test_hostile import ivf, mp4_with_samples, mp4_with_streams

LIMIT_MB = 512
POLL_S = 0.005
LARGEST = (8192, 8192)  # the largest frames that are decoded

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")

HOSTILE = {
    "frames of 16384x16384": ("a.y4m", b"YUV4MPEG2 W16384 H16384 F25:1\nFRAME\n", "unreadable_container"),
    "frames larger than the header": ("b.ivf", ivf(16383, 16383, claims=(64, 64)), "decode_error"),
    "frames as large as the header": ("c.ivf", ivf(16383, 16383, claims=(16383, 16383)), "too_large"),
    "2 billion frames": ("d.mp4", mp4_with_samples((1 << 31) - 1), "decode_error"),
    "10,000 streams": ("e.mp4", mp4_with_streams(10_000), "too_large"),
}


class PeakMemory:
    """The peak resident memory of each child process, in bytes by process id; reads /proc in a thread."""

    def __init__(self) -> None:
        self.by_process: dict[int, int] = {}
        self._end = threading.Event()

    @contextmanager
    def watched(self) -> Iterator["PeakMemory"]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _watch(self) -> None:
        while not self._end.wait(POLL_S):
            for children in Path("/proc/self/task").glob("*/children"):
                for process in children.read_text().split():
                    self._read(int(process))

    def _read(self, process: int) -> None:
        # VmHWM, not ru_maxrss, which begins with the peak of the process that started this one.
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return
        if "VmHWM:" in status:
            self.by_process[process] = int(status.partition("VmHWM:")[2].split()[0]) * 1024


def flat_picture(size: tuple[int, int]) -> np.ndarray:
    return np.full((size[1], size[0], 3), 128, np.uint8)


def test_files_that_ask_for_much_memory_fail_alone_within_the_limit(project: Project) -> None:
    clips = project.root / "clips/class"
    for number in range(3):
        write_video(clips / f"good{number}.mp4", frame_times(20 + number, 10))
    expected = {f"own-class-good{number}": None for number in range(3)}
    for name, data, error in HOSTILE.values():
        (clips / name).write_bytes(data)
        expected[f"own-class-{Path(name).stem}"] = error
    write_video(clips / "hours.mkv", [Fraction(0), Fraction(300 * 3600)], b_frames=0, time_base=Fraction(1, 10))
    expected["own-class-hours"] = None
    write_video(clips / "rate.mp4", frame_times(300, 1_000_000), b_frames=0, time_base=Fraction(1, 1_000_000))
    expected["own-class-rate"] = None
    pictures = [flat_picture(LARGEST)] * 2
    write_video(clips / "large.mp4", frame_times(2, 10), size=LARGEST, pictures=pictures)
    expected["own-class-large"] = "out_of_memory"
    project.set(engine__memory_mb=LIMIT_MB, engine__workers=2, resample__min_frames=1)
    peaks = {}
    for stage in ("download", "trim", "resample", "resize"):
        with PeakMemory().watched() as peak:
            project.run(stage)
        peaks[stage] = max(peak.by_process.values(), default=0)
    print({stage: f"{peak >> 20} MB" for stage, peak in peaks.items()})
    rows = project.rows("resize")
    assert {name: row["error"] for name, row in rows.items()} == expected
    assert "engine.memory_mb allows a worker process (512 MB)" in rows["own-class-large"]["error_detail"]
    assert max(peaks.values()) < LIMIT_MB << 20


@pytest.mark.slow
def test_a_clip_that_ran_out_of_memory_is_tried_again_by_retry(project: Project) -> None:
    write_video(
        project.root / "clips/class/large.mp4", frame_times(2, 10), size=LARGEST, pictures=[flat_picture(LARGEST)] * 2
    )
    project.set(engine__memory_mb=LIMIT_MB, resample__min_frames=1)
    project.run("download", "trim", "resample", "resize")
    assert project.rows("resize")["own-class-large"]["error"] == "out_of_memory"
    project.set(engine__memory_mb=None)
    assert project.call("retry").returncode == 0
    assert project.rows("resize")["own-class-large"]["status"] == "ok"
