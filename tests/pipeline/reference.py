"""Reference results by the ffmpeg command line: its `fps` filter selects frames, its area scaler resizes them."""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from numpy.typing import NDArray

from tests.pipeline.draw import LOSSLESS, process_clip

SIZE = 64


@dataclass(frozen=True)
class ReferenceTicks:
    """Ticks of a video as FFmpeg computes them."""

    pictures: NDArray[np.uint8]  # (T, 64, 64, 3) RGB
    source_frames: list[set[int]]  # for each tick, the source frames (numbered in display order) with the same pixels

    @property
    def valid_frames(self) -> int:
        """Number of ticks."""
        return len(self.source_frames)


def ticks_by_ffmpeg(
    path: Path, *, ticks: int = 100, fps: int = 10, matrix: str = "auto", options: Sequence[str] = ()
) -> ReferenceTicks:
    """Decode all source frames of `path`, and the ticks that the filter `fps=round=up` selects.

    With `round=up`, tick k shows the last frame whose time, counted from the first frame, is not after k / fps.

    Args:
        matrix: colour matrix of the input, in the scaler's terms.
        options: further input options of ffmpeg.
    """
    scale = f"scale={SIZE}:{SIZE}:flags=area+accurate_rnd+full_chroma_int+full_chroma_inp:in_color_matrix={matrix}"
    with tempfile.TemporaryDirectory() as folder:
        every, selected, raw = (Path(folder) / name for name in ("every.md5", "selected.md5", "selected.rgb"))
        seconds = ["-t", str(ticks / fps + 1)]
        select = f"setpts=PTS-STARTPTS,fps={fps}:round=up,{scale},format=rgb24"
        command = [get_ffmpeg_exe(), "-v", "error", "-threads", "1", *options, "-i", str(path)]
        command += ["-map", "0:v:0", *seconds, "-fps_mode", "passthrough", "-vf", f"{scale},format=rgb24"]
        command += ["-f", "framemd5", str(every)]
        command += ["-map", "0:v:0", *seconds, "-frames:v", str(ticks), "-vf", select, "-f", "framemd5", str(selected)]
        command += ["-map", "0:v:0", *seconds, "-frames:v", str(ticks), "-vf", select, "-f", "rawvideo", str(raw)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        frames_by_digest: defaultdict[str, set[int]] = defaultdict(set)
        for number, digest in enumerate(_frame_digests(every)):
            frames_by_digest[digest].add(number)
        pictures = np.fromfile(raw, np.uint8).reshape(-1, SIZE, SIZE, 3)
        return ReferenceTicks(pictures, [frames_by_digest[digest] for digest in _frame_digests(selected)])


def difference_from_ffmpeg(path: Path, *, matrix: str = "auto", options: Sequence[str] = ()) -> float:
    """Mean absolute difference, in grey levels, between a clip's filmstrip and FFmpeg's ticks, which must be as many."""
    clip = process_clip(path, resize_settings=LOSSLESS)
    reference = ticks_by_ffmpeg(path, matrix=matrix, options=options)
    assert reference.valid_frames == clip.resize.valid_frames
    ticks = clip.filmstrip[: reference.valid_frames].astype(int)
    return float(np.abs(ticks - reference.pictures).mean())


def _frame_digests(path: Path) -> list[str]:
    return [line.rsplit(",", 1)[1].strip() for line in path.read_text().splitlines() if not line.startswith("#")]
