"""Small healthy videos for the tests of sources."""

import pytest

from tests.pipeline.draw import frame_times, write_video


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Sixteen mp4 files; number n has 15 + n frames at 10 FPS, each of which shows its number."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"{n}.mp4", frame_times(15 + n, 10)).read_bytes() for n in range(16)]
