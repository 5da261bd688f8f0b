"""Colours of solid patches are those that the standards define."""

import av
import numpy as np
import pytest

from tests.pipeline.draw import JPEG, LOSSLESS, process_clip, run_ffmpeg

PATCHES = np.array(  # R, G, B
    [
        *[(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 40, 40)],
        *[(40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)],
        *[(200, 40, 200), (230, 180, 150), (90, 60, 30), (16, 16, 16)],
        *[(235, 235, 235), (120, 160, 90), (70, 110, 180), (250, 120, 10)],
    ],
    np.float64,
)
# Luma weights of red and blue by ITU-R BT.601 and BT.709, and AVColorSpace's numbers.
MATRICES = {"bt601": (0.299, 0.114, 5), "bt709": (0.2126, 0.0722, 1)}


def to_yuv(rgb, matrix, full, bits):
    """R'G'B' from 0 to 255 to quantised Y'CbCr, by the definition of the standards."""
    red, blue, _ = MATRICES[matrix]
    r, g, b = (rgb / 255).T
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    top, scale = 2**bits - 1, 2 ** (bits - 8)
    if full:
        planes = y * top, cb * top + 128 * scale, cr * top + 128 * scale
    else:
        planes = 219 * scale * y + 16 * scale, 224 * scale * cb + 128 * scale, 224 * scale * cr + 128 * scale
    return np.clip(np.rint(np.stack(planes)), 0, top)


def write_patches(path, matrix, full, bits, chroma, size=256):
    """Encode sixteen solid squares without loss."""
    pixel_format = f"yuv{chroma}p" + ("10le" if bits == 10 else "")
    dtype = np.uint8 if bits == 8 else np.uint16
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"qp": "0", "preset": "ultrafast"})
        stream.width = stream.height = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.colorspace, context.color_range = MATRICES[matrix][2], 2 if full else 1
        for number in range(12):
            frame = av.VideoFrame(size, size, pixel_format)
            frame.colorspace, frame.color_range = context.colorspace, context.color_range
            for plane, values in zip(frame.planes, to_yuv(PATCHES, matrix, full, bits), strict=True):
                side = plane.width // 4
                samples = np.kron(values.reshape(4, 4), np.ones((side, side))).astype(dtype)
                padded = np.zeros((plane.height, plane.line_size // samples.itemsize), dtype)
                padded[:, : plane.width] = samples
                plane.update(padded.tobytes())
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def patch_error(path, resize_settings):
    """Largest difference of the first tick's patches from their true colours."""
    picture = process_clip(path, resize_settings=resize_settings).filmstrip[0]
    return np.abs(picture[8::16, 8::16].reshape(16, 3).astype(float) - PATCHES).max()


@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_those_of_the_standard(here, matrix, full, bits, chroma):
    assert patch_error(write_patches(here / "a.mp4", matrix, full, bits, chroma), LOSSLESS) <= 3


def test_jpeg_compression_keeps_the_colours(here):
    assert patch_error(write_patches(here / "a.mp4", "bt709", False, 8, "420"), JPEG) <= 5


def test_a_small_video_without_a_colour_matrix_is_converted_by_bt601(here):
    path = write_patches(here / "tagged.mp4", "bt601", False, 8, "420")
    untag = "h264_metadata=matrix_coefficients=2:colour_primaries=2:transfer_characteristics=2"
    run_ffmpeg("-i", path, "-c", "copy", "-bsf:v", untag, here / "untagged.mp4")
    with av.open(str(here / "untagged.mp4")) as container:
        assert int(next(container.decode(video=0)).colorspace) == 2  # unspecified
    assert patch_error(here / "untagged.mp4", LOSSLESS) <= 3


def test_a_large_video_without_a_colour_matrix_is_converted_by_bt709(here):
    path = write_patches(here / "tagged.mp4", "bt709", False, 8, "420", size=720)
    untag = "h264_metadata=matrix_coefficients=2:colour_primaries=2:transfer_characteristics=2"
    run_ffmpeg("-i", path, "-c", "copy", "-bsf:v", untag, here / "untagged.mp4")
    assert patch_error(here / "untagged.mp4", LOSSLESS) <= 3
