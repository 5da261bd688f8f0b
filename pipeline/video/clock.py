"""Decoded frames with the time at which each is shown, in the stream's own units."""

from collections.abc import Collection, Iterator

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


def is_avi(container: InputContainer) -> bool:
    """AVI stores one frame a step in decoding order and no presentation times; those that demuxers invent are wrong."""
    return bool(container.format.name == "avi")


def timed_frames(
    container: InputContainer, stream: VideoStream, wanted: Collection[int] | None = None
) -> Iterator[tuple[int | None, VideoFrame]]:
    """Frames in display order, each with its presentation time; damage in the middle loses frames, not the clip.

    Args:
        wanted: let the decoder drop frames at other times that no frame refers to. The frames that come out are the
            same as without. Needs packets that carry presentation times.
    """
    avi = is_avi(container)
    last = -1
    for packet in container.demux(stream):
        if wanted is not None:
            needed = packet.pts is None or packet.pts in wanted
            stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        for frame in frames:
            if avi:
                # Frames come out in display order, one a step; the last come out after the last packet, without a clock.
                last = max(last + 1, -1 if frame.dts is None else frame.dts)
                yield last, frame
            else:
                yield frame.pts if frame.pts is not None else frame.dts, frame
