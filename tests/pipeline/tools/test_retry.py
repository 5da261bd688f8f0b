"""retry repeats transient failures of every ledger, and nothing else."""

from pipeline.records.failures import ClipError, Failure
from pipeline.records.rows import ResizeRow, TrimRow
from pipeline.runner.ledger import Ledger, Outcome
from tests.conftest import Project
from tests.pipeline.draw import frame_times, write_video

TIMEOUT = ClipError(Failure.TIMEOUT, "no result after 120 s")
DAMAGED = ClipError(Failure.DECODE_ERROR, "the frame at 1.000 s is damaged")


def record(stage: str, kind: type[TrimRow] | type[ResizeRow], clip_id: str, error: ClipError) -> None:
    """Replace the clip's line in a ledger by a failure."""
    with Ledger(stage, kind) as ledger:
        ledger[clip_id] = Outcome.failed(ledger.load()[clip_id].key, error)


def test_transient_failures_of_all_stages_are_repeated_and_permanent_ones_kept(project: Project):
    for number, name in enumerate("abc"):
        write_video(project.root / f"clips/one/{name}.mp4", frame_times(20 + number, 10))
    project.run("download", "trim", "resample", "resize")
    record("trim", TrimRow, "own-one-a", TIMEOUT)
    record("resize", ResizeRow, "own-one-b", TIMEOUT)
    record("resize", ResizeRow, "own-one-c", DAMAGED)
    project.run("trim", "resample", "resize")
    errors = {clip_id: row["error"] for clip_id, row in project.rows("resize").items()}
    assert errors == {"own-one-a": "timeout", "own-one-b": "timeout", "own-one-c": "decode_error"}
    result = project.call("retry")
    assert result.returncode == 0, result.stderr
    assert "retry: 2 transient failures to try again" in result.stdout
    rows = project.rows("resize")
    assert [rows[f"own-one-{name}"]["error"] for name in "abc"] == [None, None, "decode_error"]
    assert project.rows("trim")["own-one-a"]["attempts"] == 2
    assert rows["own-one-b"]["attempts"] == 2
