"""Real files: the frames that FFmpeg's own `fps` filter chooses, within two grey levels of its own area scaler."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.records.failures import ClipError
from pipeline.video.frames import shown_frames
from tests.conftest import SHARED_DATA, real_videos
from tests.pipeline.draw import read_strip
from tests.pipeline.reference import by_ffmpeg
from tests.pipeline.video.test_video import LOSSLESS, through

A_FEW = {
    "WUzgd7C1pWA.mp4",
    "v_SoccerJuggling_g23_c01.avi",
    "test_resources_bt709_full_range.mp4",
    "test_resources_av1_video.mkv",
    "test_resources_h265_10bits.mp4",
    "tests_test_data_unordered.mov",
    "tests_test_data_video_90.mov",
    "tests_features_data_test_video_66x50.mov",
    "test_assets_testvideo-169.avi",
}
VIDEOS = [
    pytest.param(path, id=path.name, marks=[] if path.name in A_FEW else [pytest.mark.slow]) for path in real_videos()
]


@pytest.mark.skipif(not VIDEOS, reason=f"no videos below {SHARED_DATA.name}/videos (SHARED_DATA)")
@pytest.mark.parametrize("path", VIDEOS)
def test_the_frames_and_pictures_of_ffmpeg(here, path: Path):
    try:
        _, timed, row = through(path, look=LOSSLESS)
    except ClipError as error:
        pytest.skip(f"no filmstrip: {error}")
    reference = by_ffmpeg(path, matrix=matrix_of(path))
    assert timed["valid_frames"] == reference.valid
    number = {pts: number for number, pts in enumerate(shown_frames(path).pts)}
    chosen = [number[pts] for pts in timed["timeline"][: reference.valid]]
    assert [tick for tick, frame in enumerate(chosen) if frame not in reference.shown[tick]] == []
    strip = read_strip(row["path"])[: reference.valid].astype(int)
    assert np.abs(strip - reference.pictures).mean(axis=(1, 2, 3)).max() <= 2


def matrix_of(path: Path) -> str:
    """What players take for a stream that names no matrix; the scaler takes 601 for every size."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frame = next(container.decode(video=0))
        return "bt709" if int(frame.colorspace) == 2 and frame.height >= 720 else "auto"
