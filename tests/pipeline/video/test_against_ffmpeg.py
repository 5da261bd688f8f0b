"""Real videos: the frames that FFmpeg's `fps` filter selects, within two grey levels of its area scaler."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.records.failures import ClipError
from pipeline.video.frames import read_frame_times
from tests.conftest import SHARED_DATA, real_videos
from tests.pipeline.draw import LOSSLESS, process_clip
from tests.pipeline.reference import ticks_by_ffmpeg

ALWAYS_RUN = {  # the others are marked slow
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
    pytest.param(path, id=path.name, marks=[] if path.name in ALWAYS_RUN else [pytest.mark.slow])
    for path in real_videos()
]


@pytest.mark.skipif(not VIDEOS, reason=f"no videos below {SHARED_DATA.name}/videos (SHARED_DATA)")
@pytest.mark.parametrize("path", VIDEOS)
def test_a_real_video_has_the_frames_and_pixels_of_ffmpeg(here, path: Path):
    try:
        clip = process_clip(path, resize_settings=LOSSLESS)
    except ClipError as error:
        pytest.skip(f"no filmstrip: {error}")
    reference = ticks_by_ffmpeg(path, matrix=scaler_matrix(path))
    assert clip.resize.valid_frames == reference.valid_frames
    number_of = {pts: number for number, pts in enumerate(read_frame_times(path).pts)}
    selected = [number_of[pts] for pts in clip.resample.timeline[: reference.valid_frames]]
    assert [tick for tick, frame in enumerate(selected) if frame not in reference.source_frames[tick]] == []
    ticks = clip.filmstrip[: reference.valid_frames].astype(int)
    assert np.abs(ticks - reference.pictures).mean(axis=(1, 2, 3)).max() <= 2


def scaler_matrix(path: Path) -> str:
    """The matrix that players use; FFmpeg's scaler takes BT.601 for every stream that names none."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frame = next(container.decode(video=0))
        return "bt709" if int(frame.colorspace) == 2 and frame.height >= 720 else "auto"
