"""The line that a stage ends with: clips, seconds, clips/s, and its share of the decode limit."""

import re
from collections.abc import Iterator

import pytest

from pipeline.runner import used
from pipeline.runner.speed import describe
from pipeline.video import decode_time
from tests.conftest import Project
from tests.pipeline.draw import frame_times, write_video

LINE = re.compile(r"^(\w+): (\d+) clips? in ([\d.]+) s, ([\d.]+) clips/s on 1 worker(?:, (\d+)% of the decode limit)?$")


class Clock:
    """A clock that only moves when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def frames(self, count: int, *, each_s: float) -> Iterator[int]:
        """Frames that take `each_s` to decode."""
        for number in range(count):
            self.now += each_s
            yield number


@pytest.mark.parametrize(
    ("workers", "decode_s", "line"),
    [
        (2, 60.0, "resize: 3,000 clips in 50.0 s, 60.0 clips/s on 2 workers, 60% of the decode limit"),
        (1, 0.0, "resize: 3,000 clips in 50.0 s, 60.0 clips/s on 1 worker"),
        (None, 60.0, "resize: 3,000 clips in 50.0 s, 60.0 clips/s"),
    ],
)
def test_share_is_the_part_of_the_workers_time_in_the_decoder(workers, decode_s, line):
    assert describe("resize", 3000, 50.0, workers, decode_s) == line


def test_time_until_a_frame_is_there_counts_and_that_of_its_use_does_not(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(decode_time, "time", clock)
    decode_time.take()
    for _ in decode_time.measured(clock.frames(3, each_s=2.0)):
        clock.now += 100.0
    assert decode_time.take() == 3 * 2.0
    assert decode_time.take() == 0.0


def test_a_pool_has_no_more_workers_than_tasks():
    assert used(4, 3) == 3
    assert used(2, 3) == 2


def test_stages_end_with_their_speed_and_a_rerun_from_the_ledger_with_none(project: Project):
    for name in ("a/one", "a/two", "b/three"):
        write_video(project.root / f"clips/{name}.mp4", frame_times(20 + len(name), 10))
    project.run("download")
    lines = {stage: project.call(stage).stdout.splitlines() for stage in ("trim", "resample", "resize")}
    for stage, printed in lines.items():
        found = LINE.match(printed[-1])
        assert found, printed
        assert found.group(1, 2) == (stage, "3")
        assert (found.group(5) is not None) == (stage == "resize")
    assert int(LINE.match(lines["resize"][-1]).group(5)) <= 100
    assert project.call("resize").stdout.splitlines() == ["resize: 3 clips ok, 0 failed"]
