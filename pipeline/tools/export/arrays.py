"""NumPy: the frames of a shard's clips in one `.npy` that is read by memory map, `(clips, frames, size, size, 3) uint8` RGB."""

from pathlib import Path

import numpy as np

from common.errors import WorkError
from common.files import replacing
from pipeline.tools.export.clips import Part, Shape, filmstrips, frames


def write(part: Part, folder: Path, shape: Shape) -> None:
    """Write `<shard>.npy`, unless it is there."""
    path = folder / f"{part.name}.npy"
    if path.exists():
        return
    with replacing(path) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, _shape(part, shape))
        for number, (row, data) in enumerate(filmstrips(part)):
            array[number] = frames(row, data, shape)
        array.flush()
        del array


def compare(part: Part, folder: Path, shape: Shape) -> None:
    """Read the file again and compare every pixel with the decoded filmstrip.

    Raises:
        WorkError: the file is damaged or of another shape, or a clip differs.
    """
    path = folder / f"{part.name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise WorkError(f"{path} cannot be read: {error}: delete it and run the same command again") from None
    if (array.dtype, array.shape) != (np.uint8, _shape(part, shape)):
        raise WorkError(f"{path} is {array.dtype} {array.shape}: delete it and run the same command again")
    for number, (row, data) in enumerate(filmstrips(part)):
        if not np.array_equal(array[number], frames(row, data, shape)):
            raise WorkError(f"{path}: {row.clip_id} differs: delete it and run the same command again")


def _shape(part: Part, shape: Shape) -> tuple[int, ...]:
    return len(part.rows), shape.frames, shape.wanted, shape.wanted, 3
