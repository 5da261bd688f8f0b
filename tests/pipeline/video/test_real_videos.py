"""Real videos: each gives a filmstrip or a typed failure, and pixels agree with a plain decode."""

import io

import av
import cv2
import numpy as np
import pytest

from pipeline.records.failures import ClipError
from tests.conftest import SHARED_DATA, real_videos
from tests.pipeline.draw import LOSSLESS, process_clip

pytestmark = pytest.mark.skipif(not real_videos(), reason=f"no videos below {SHARED_DATA.name}/videos (SHARED_DATA)")


def real_video(name):
    """The path of a real video; skips the test if it is absent."""
    path = SHARED_DATA / "videos" / name
    if not path.exists():
        pytest.skip(f"{name} is absent")
    return path


def test_every_real_video_gives_a_filmstrip_or_a_typed_failure(here):
    outcomes = {}
    for number, path in enumerate(real_videos()):
        try:
            clip = process_clip(path, clip_id=f"clip{number}")
            assert clip.filmstrip.shape == (100, 64, 64, 3), path.name
            outcomes[path.name] = "ok"
        except ClipError as error:
            outcomes[path.name] = error.code.value
    for name in ("spec_fixtures_movies_broken.mp4", "spec_fixtures_movies_empty.flv"):
        assert outcomes.get(name, "unreadable_container") == "unreadable_container"
    failures = {name: outcome for name, outcome in outcomes.items() if outcome != "ok"}
    assert len(failures) <= 0.15 * len(outcomes), failures


@pytest.mark.parametrize(
    "name",
    [
        "torchvision/WUzgd7C1pWA.mp4",
        "torchvision/v_SoccerJuggling_g23_c01.avi",
        "torchcodec/test_resources_bt709_full_range.mp4",
        "torchcodec/test_resources_av1_video.mkv",
        "decord/tests_test_data_unordered.mov",
        "hf-datasets/tests_features_data_test_video_66x50.mov",
    ],
)
def test_a_real_video_agrees_with_full_size_conversion_by_pyav(here, name):
    path = real_video(name)
    clip = process_clip(path, resize_settings=LOSSLESS)
    filmstrip = clip.filmstrip
    with av.open(io.BytesIO(path.read_bytes())) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    frames.sort(key=lambda item: item[0])
    start = frames[0][0]
    for tick in range(0, clip.resize.valid_frames, 7):
        _, full_size = [item for item in frames if item[0] - start <= tick / 10 + 1e-6][-1]
        expected = cv2.resize(full_size, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        assert np.abs(filmstrip[tick] - expected).mean() <= 2, f"tick {tick}"


@pytest.mark.parametrize(
    "name", ["torchcodec/test_resources_h265_10bits.mp4", "torchcodec/test_resources_h264_10bits.mp4"]
)
def test_a_real_ten_bit_video_agrees_with_the_standard_in_floating_point(here, name):
    """These frames are noise, for which swscale's conversion is off by 3 grey levels; so the formula is the reference."""
    path = real_video(name)
    clip = process_clip(path, resize_settings=LOSSLESS)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "yuv420p10le"
    y, cb, cr = (
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width].astype(float) / 4
        for plane in frame.planes
    )
    y, cb, cr = (y - 16) / 219, *((plane.repeat(2, 0).repeat(2, 1) - 128) / 224 for plane in (cb, cr))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2) * 255
    expected = np.clip(cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA), 0, 255)
    assert np.abs(clip.filmstrip[0] - expected).mean() <= 1
