"""show draws contact sheets of a clip, of a class, and of failed clips, and names what is wrong with its arguments."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tools import contact_sheet
from tests.conftest import Project, make_project
from tests.pipeline.draw import frame_times, read_counter, write_video

STAGES = ("download", "trim", "resample", "resize", "merge", "split", "shard")
CELL, BORDER = 2 * 64, 2  # pixels: an enlarged frame, and the white around it


def read_sheet(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


def frames_in_row(sheet: NDArray[np.uint8], bottom: int, count: int) -> list[int]:
    """The counters shown by the first `count` cells whose frames end at pixel row `bottom`."""
    lefts = [BORDER + number * (CELL + 2 * BORDER) for number in range(count)]
    return [read_counter(sheet[bottom - CELL : bottom, left : left + CELL]) for left in lefts]


def test_clip_sheet_shows_every_tick(dataset: Project, tmp_path: Path):
    clip_id = next(clip_id for clip_id, row in dataset.rows("shards").items() if row["valid_frames"] == 20)
    result = dataset.call("show", clip_id, "-o", str(tmp_path / "sheet.png"))
    assert result.returncode == 0, result.stderr
    assert "20 ticks of h264 128x96, motion 0." in result.stdout
    sheet = read_sheet(tmp_path / "sheet.png")
    height = sheet.shape[0] // 10
    assert sheet.shape[1] == 10 * (CELL + 2 * BORDER)
    assert frames_in_row(sheet, height - BORDER, 10) == list(range(10))
    assert frames_in_row(sheet, 2 * height - BORDER, 10) == list(range(10, 20))


def test_class_sheet_has_one_row_of_every_third_tick_per_clip(dataset: Project, tmp_path: Path):
    result = dataset.call("show", "--class", "class 1", "-o", str(tmp_path / "class.png"))
    assert result.returncode == 0, result.stderr
    assert "4 clips of 'class 1', one per row" in result.stdout
    sheet = read_sheet(tmp_path / "class.png")
    shortest = min(row["valid_frames"] for row in dataset.rows("shards").values() if row["class_name"] == "class 1")
    assert shortest == 21
    assert frames_in_row(sheet, sheet.shape[0] // 4 - BORDER, 7) == [0, 3, 6, 9, 12, 15, 18]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animation_of_a_clip_plays_its_ticks_at_their_rate(dataset: Project, tmp_path: Path, suffix: str):
    clip_id = next(clip_id for clip_id, row in dataset.rows("shards").items() if row["valid_frames"] == 20)
    out = tmp_path / f"clip{suffix}"
    assert dataset.call("show", clip_id, "-o", str(out)).returncode == 0
    done, animation = cv2.imreadanimation(str(out))
    assert done
    assert list(animation.durations) == [100] * 20
    frames = [np.asarray(frame, np.uint8)[-1 - CELL : -1, 1 : 1 + CELL, :3] for frame in animation.frames]
    assert [read_counter(frame) for frame in frames] == list(range(20))


def test_animation_of_a_class_has_its_clips_side_by_side(dataset: Project, tmp_path: Path):
    result = dataset.call("show", "--class", "class 1", "-o", str(tmp_path / "class.gif"))
    assert "4 clips of 'class 1', side by side" in result.stdout
    _, animation = cv2.imreadanimation(str(tmp_path / "class.gif"))
    lefts = [1 + number * (CELL + 2) for number in range(4)]
    frame = np.asarray(animation.frames[7], np.uint8)[-1 - CELL : -1, :, :3]
    assert [read_counter(frame[:, left : left + CELL]) for left in lefts] == [7] * 4


def test_temporary_file_of_a_killed_run_is_deleted(dataset: Project, tmp_path: Path):
    (tmp_path / ".part-99999999-sheet.png").write_bytes(b"half")
    (clip_id, *_) = dataset.rows("shards")
    assert dataset.call("show", clip_id, "-o", str(tmp_path / "sheet.png")).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three good clips, and one each that is too short, unreadable, and a duplicate."""
    project = make_project(tmp_path_factory.mktemp("failures"))
    clips = project.root / "clips"
    for number in range(3):
        write_video(clips / f"c{number}/a.mp4", frame_times(20 + number, 10))
    write_video(clips / "c0/short.mp4", frame_times(5, 10))
    (clips / "c1/page.mp4").write_text("<html>")
    (clips / "c1/copy.mp4").write_bytes((clips / "c1/a.mp4").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        project.run(*STAGES)
    return project


@pytest.mark.parametrize(
    ("code", "frames"), [("too_short", [0, 3]), ("unreadable_container", []), ("duplicate", [0, 3, 6, 9, 12])]
)
def test_failed_clips_are_shown_as_far_as_they_decode(failures: Project, tmp_path: Path, code: str, frames: list[int]):
    result = failures.call("show", "--failures", code, "-o", str(tmp_path / "lost.png"))
    assert result.returncode == 0, result.stderr
    assert f"1 of 1 clips lost as {code}" in result.stdout
    sheet = read_sheet(tmp_path / "lost.png")
    text, cells = sheet[:, :420], sheet[:, 420:]
    assert (text < 100).any()
    assert cells.shape[1] == len(frames) * (CELL + 2 * BORDER)
    if frames:
        assert frames_in_row(cells, cells.shape[0] - BORDER, len(frames)) == frames


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["own-nobody", "-o", "a.png"], 1, "no clip is named 'own-nobody'"),
        (["--class", "nothing", "-o", "a.png"], 1, "no class is named 'nothing'"),
        (["--class", "class 1", "-o", "a.txt"], 2, "a.txt: name a picture that ends in .png, .jpg, .gif or .webp"),
        (["--class", "class 1"], 2, "-o"),
        (["--failures", "too_short", "-o", "a.gif"], 2, "a.gif: failures are shown as a picture"),
        (["--failures", "nonsense", "-o", "a.png"], 2, "must be one of not_found, "),
        (["--failures", "duplicate", "-o", "a.png"], 1, "no clip was lost as duplicate"),
    ],
)
def test_wrong_arguments_are_named(dataset: Project, arguments: list[str], code: int, message: str):
    result = dataset.call("show", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_failed_clip_has_no_sheet_and_its_reason_is_printed(failures: Project):
    result = failures.call("show", "own-c0-short", "-o", "a.png")
    assert result.returncode == 1
    assert result.stderr.startswith("error: own-c0-short has no filmstrip: too_short: 5 ticks at 10 FPS")


def test_stack_fills_smaller_pictures_with_white():
    black = [np.zeros(shape, np.uint8) for shape in ((2, 2, 3), (4, 1, 3), (1, 1, 3))]
    sheet = contact_sheet.stack([black[:2], black[2:]])
    assert (sheet[..., 0] == 0).astype(int).tolist() == [
        [1, 1, 1],
        [1, 1, 1],
        [0, 0, 1],
        [0, 0, 1],
        [1, 0, 0],
    ]


def test_unknown_image_format_is_an_error():
    with pytest.raises(ValueError, match=r"\.txt"):
        contact_sheet.encode(np.zeros((8, 8, 3), np.uint8), ".txt")
