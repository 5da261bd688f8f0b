"""Videos to measure on: synthetic ones in common codecs, and real ones where SHARED_DATA has them."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.video.cut import ffmpeg_binary

SECONDS = 10


@dataclass(frozen=True)
class Encoding:
    """How a synthetic video is encoded."""

    size: str  # width x height
    suffix: str
    options: Sequence[str]  # of ffmpeg


_X264 = ("-c:v", "libx264", "-preset", "medium", "-bf", "3", "-g", "250", "-crf", "23")
_X265 = ("-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=none")
_VP9 = ("-c:v", "libvpx-vp9", "-b:v", "800k", "-cpu-used", "6", "-deadline", "realtime")
_AV1 = ("-c:v", "libsvtav1", "-preset", "10", "-crf", "35")
_MPEG4 = ("-c:v", "mpeg4", "-q:v", "4")
SYNTHETIC = {
    "h264 340x256": Encoding("340x256", "mp4", _X264),
    "h264 1280x720": Encoding("1280x720", "mp4", _X264),
    "hevc 640x360": Encoding("640x360", "mp4", _X265),
    "vp9 640x360": Encoding("640x360", "webm", _VP9),
    "av1 640x360": Encoding("640x360", "mp4", _AV1),
    "mpeg4 avi 320x240": Encoding("320x240", "avi", _MPEG4),
    "h264 10-bit 640x360": Encoding("640x360", "mp4", (*_X264, "-pix_fmt", "yuv420p10le")),
}
REAL = {
    "Kinetics clip, h264 340x256": "torchvision/R6llTwEh07w.mp4",
    "h264 1920x1080": "video2dataset/tests_test_files_test_video.mp4",
    "UCF101 clip, mpeg4 avi 320x240": "torchvision/v_SoccerJuggling_g23_c01.avi",
}


def prepare_videos(folder: Path) -> dict[str, Path]:
    """Paths of all videos by name; synthetic ones that are missing in `folder` are encoded."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = {}
    for name, encoding in tqdm(SYNTHETIC.items(), desc="encoding", leave=False, disable=None):
        path = folder / f"{name.replace(' ', '_')}.{encoding.suffix}"
        if not path.exists():
            _encode(path, encoding)
        videos[name] = path
    shared = Path(os.environ.get("SHARED_DATA", "../shared")) / "videos"
    return videos | {name: shared / path for name, path in REAL.items() if (shared / path).exists()}


def _encode(path: Path, encoding: Encoding) -> None:
    """Encode ten seconds at 30 frames per second: a slow zoom into a fractal, blended with a test pattern and grain."""
    fractal = f"mandelbrot=size={encoding.size}:rate=30:end_pts=900"
    pattern = f"testsrc2=size={encoding.size}:rate=30"
    grain = "noise=alls=6:allf=t"
    graph = f"{fractal}[a];{pattern}[b];[a][b]blend=all_mode=average,{grain},format=yuv420p"
    temporary = path.with_name(f"part-{path.name}")
    command = [ffmpeg_binary(), "-v", "error", "-y", "-filter_complex", graph, "-t", str(SECONDS)]
    subprocess.run(
        [*command, *encoding.options, str(temporary)], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    temporary.rename(path)
