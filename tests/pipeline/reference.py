"""FFmpeg's own answer to the same question: its `fps` filter chooses the frames, its area scaler makes them small."""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe as ffmpeg_binary
from numpy.typing import NDArray

SIZE = 64


@dataclass(frozen=True)
class Reference:
    """Ticks as FFmpeg makes them."""

    pictures: NDArray[np.uint8]  # (T, 64, 64, 3) RGB
    shown: list[set[int]]  # for each tick, the source frames (by number in display order) that look exactly like it

    @property
    def valid(self) -> int:
        return len(self.shown)


def by_ffmpeg(
    path: Path, *, ticks: int = 100, fps: int = 10, matrix: str = "auto", options: Sequence[str] = ()
) -> Reference:
    """Decode `path` with the ffmpeg command line: every source frame, and the ticks that `fps=round=up` chooses.

    `round=up` shows at tick k the last frame whose time, counted from the first frame, is not after k / fps.
    """
    scale = f"scale={SIZE}:{SIZE}:flags=area+accurate_rnd+full_chroma_int+full_chroma_inp:in_color_matrix={matrix}"
    with tempfile.TemporaryDirectory() as folder:
        every, chosen, raw = (Path(folder) / name for name in ("every.md5", "chosen.md5", "chosen.rgb"))
        seconds = ["-t", str(ticks / fps + 1)]
        base = f"setpts=PTS-STARTPTS,fps={fps}:round=up,{scale},format=rgb24"
        command = [ffmpeg_binary(), "-v", "error", "-threads", "1", *options, "-i", str(path)]
        command += ["-map", "0:v:0", *seconds, "-fps_mode", "passthrough", "-vf", f"{scale},format=rgb24"]
        command += ["-f", "framemd5", str(every)]
        command += ["-map", "0:v:0", *seconds, "-frames:v", str(ticks), "-vf", base, "-f", "framemd5", str(chosen)]
        command += ["-map", "0:v:0", *seconds, "-frames:v", str(ticks), "-vf", base, "-f", "rawvideo", str(raw)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        numbers = defaultdict(set)
        for number, digest in enumerate(_digests(every)):
            numbers[digest].add(number)
        pictures = np.fromfile(raw, np.uint8).reshape(-1, SIZE, SIZE, 3)
        return Reference(pictures, [numbers[digest] for digest in _digests(chosen)])


def _digests(path: Path) -> list[str]:
    return [line.rsplit(",", 1)[1].strip() for line in path.read_text().splitlines() if not line.startswith("#")]
