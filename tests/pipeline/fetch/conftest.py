"""A project with a small mirror, for tests of disk use."""

import pytest

from tests.pipeline.draw import counter_picture, frame_times, write_video
from tests.pipeline.mirror import clip_member, mirror_kinetics, video_ids


@pytest.fixture
def mirrored(project, tmp_path):
    """A project whose mirror has two archives of three clips in two classes."""
    videos = video_ids("abcdef")
    shown = [[counter_picture(100 * n + k) for k in range(20)] for n in range(6)]
    clips = [write_video(tmp_path / f"{n}.mp4", frame_times(20, 10), pictures=shown[n]).read_bytes() for n in range(6)]
    rows = [(("run", "jump")[n % 2], video, 0) for n, video in enumerate(videos)]
    members = [(clip_member(video), clip) for video, clip in zip(videos, clips, strict=True)]
    return mirror_kinetics(project, rows, [{"members": members[:3]}, {"members": members[3:]}], clips=6)


def raw_clips(project):
    return sorted(path for path in (project.root / "data/raw").rglob("*.mp4"))
