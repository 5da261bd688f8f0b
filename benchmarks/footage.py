"""Videos to measure on: drawn with moving texture in the codecs that matter, and real ones where SHARED_DATA has them."""

import os
import subprocess
from pathlib import Path

from tqdm import tqdm

from pipeline.video.cut import ffmpeg_binary

_X264 = ["-c:v", "libx264", "-preset", "medium", "-bf", "3", "-g", "250"]
DRAWN = {
    "h264 340x256": ("340x256", "mp4", [*_X264, "-crf", "23"]),
    "h264 1280x720": ("1280x720", "mp4", [*_X264, "-crf", "23"]),
    "hevc 640x360": ("640x360", "mp4", ["-c:v", "libx265", "-preset", "fast", "-x265-params", "log-level=none"]),
    "vp9 640x360": (
        "640x360",
        "webm",
        ["-c:v", "libvpx-vp9", "-b:v", "800k", "-cpu-used", "6", "-deadline", "realtime"],
    ),
    "av1 640x360": ("640x360", "mp4", ["-c:v", "libsvtav1", "-preset", "10", "-crf", "35"]),
    "mpeg4 avi 320x240": ("320x240", "avi", ["-c:v", "mpeg4", "-q:v", "4"]),
    "h264 10-bit 640x360": ("640x360", "mp4", [*_X264, "-crf", "23", "-pix_fmt", "yuv420p10le"]),
}
REAL = {
    "Kinetics clip, h264 340x256": "torchvision/R6llTwEh07w.mp4",
    "h264 1920x1080": "video2dataset/tests_test_files_test_video.mp4",
    "UCF101 clip, mpeg4 avi 320x240": "torchvision/v_SoccerJuggling_g23_c01.avi",
}
SECONDS = 10


def videos(folder: Path) -> dict[str, Path]:
    """Every video by name; draws into `folder` what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (size, suffix, codec) in tqdm(DRAWN.items(), desc="drawing", leave=False, disable=None):
        path = folder / f"{name.replace(' ', '_')}.{suffix}"
        if not path.exists():
            _draw(path, size, codec)
        found[name] = path
    shared = Path(os.environ.get("SHARED_DATA", "../shared")) / "videos"
    return found | {name: shared / path for name, path in REAL.items() if (shared / path).exists()}


def _draw(path: Path, size: str, codec: list[str]) -> None:
    """Ten seconds at 30 frames a second: a slow zoom into a fractal under a moving test card and film grain."""
    texture = f"mandelbrot=size={size}:rate=30:end_pts=900"
    grain = "noise=alls=6:allf=t"
    card = f"testsrc2=size={size}:rate=30"
    mixed = f"{texture}[a];{card}[b];[a][b]blend=all_mode=average,{grain},format=yuv420p"
    part = path.with_name(f"part-{path.name}")
    command = [ffmpeg_binary(), "-v", "error", "-y", "-filter_complex", mixed, "-t", str(SECONDS), *codec, str(part)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    part.rename(path)
