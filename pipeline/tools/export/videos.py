"""Videos: each clip's own frames, without padding, as H.264 in mp4, which browsers and FiftyOne play; nearly lossless.

Chroma has half the resolution (4:2:0), so frames differ a little from the filmstrip's: `compare` bounds by how much.
"""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from common.errors import WorkError
from common.files import replacing
from pipeline.records.rows import ShardRow
from pipeline.tools.export.clips import Part, Shape, filmstrips, frames

TOLERANCE = 6.0  # grey levels: mean absolute difference of a clip's frames from the filmstrip's
_OPTIONS = {"crf": "12", "preset": "veryfast", "threads": "1"}
_BT601, _LIMITED = (
    6,
    1,
)  # SMPTE 170M and the range 16 to 235, which swscale converts to, and players expect of small videos


def write(part: Part, folder: Path, shape: Shape) -> None:
    """Write `<clip_id>.mp4` for each clip that has none yet."""
    for row, data in filmstrips(part):
        path = path_of(row, folder)
        if not path.exists():
            with replacing(path) as temporary:
                encode(temporary, frames(row, data, shape)[: row.valid_frames], shape.fps)


def compare(part: Part, folder: Path, shape: Shape) -> None:
    """Decode every video again and compare its frames with the filmstrip's, within `TOLERANCE`.

    Raises:
        WorkError: a video cannot be decoded, has another number of frames, or differs by more.
    """
    for row, data in filmstrips(part):
        path = path_of(row, folder)
        expected = frames(row, data, shape)[: row.valid_frames]
        try:
            found = decode(path)
        except (av.FFmpegError, ValueError, IndexError) as error:
            raise WorkError(f"{path} cannot be decoded: {error}: delete it and run the same command again") from None
        if found.shape != expected.shape:
            raise WorkError(f"{path} has the shape {found.shape}: delete it and run the same command again")
        difference = float(np.abs(found.astype(np.int16) - expected).mean())
        if difference > TOLERANCE:
            raise WorkError(
                f"{path} differs by {difference:.1f} grey levels on average, more than {TOLERANCE:g}: "
                "delete it and run the same command again"
            )


def write_below_split(part: Part, folder: Path, shape: Shape) -> None:
    """As `write`, into a folder of the part's split."""
    write(part, folder / part.rows[0].split, shape)


def compare_below_split(part: Part, folder: Path, shape: Shape) -> None:
    """As `compare`, in that folder."""
    compare(part, folder / part.rows[0].split, shape)


def path_of(row: ShardRow, folder: Path) -> Path:
    """The video of a clip."""
    return folder / f"{row.clip_id}.mp4"


def encode(path: Path, pictures: NDArray[np.uint8], fps: int) -> None:
    """Write `(T, S, S, 3) uint8` RGB as a video of T frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = _BT601, _LIMITED
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decode(path: Path) -> NDArray[np.uint8]:
    """All frames, `(T, S, S, 3) uint8` RGB."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(pictures).astype(np.uint8, copy=False)
