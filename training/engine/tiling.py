"""Windows that tile a clip: between them they show every tick, each as few times as possible."""

from collections.abc import Sequence

from training.clips import window_span


def tile_starts(shown: Sequence[int], stride: int, valid: int, ticks: int) -> list[int]:
    """First ticks of windows that together show all valid ticks of a clip, ascending by the first tick that each adds.

    16 frames at stride 4 interleave: windows from ticks 0, 1, 2 and 3 show ticks 0 to 63 once, and those from 36 to 39 the
    rest of 100 ticks. Windows stay within the valid ticks; where these are fewer than a window needs, `stride` windows from the
    first tick on include padding. Ticks that no window within the clip can show are left out, such as the last one of a clip
    of 62 ticks, where 16 frames at stride 4 span 61.

    Args:
        shown: frames of a window that count, ascending, from the first (0) to the last.
        stride: ticks between frames.
        valid: ticks of the clip that are not padding.
        ticks: of the clip, padding included.

    Raises:
        ValueError: a window is longer than `ticks`.
    """
    span = window_span(shown[-1] + 1, stride, ticks)
    last = min(ticks - span, max(valid - span, stride - 1))
    offsets = [frame * stride for frame in shown]
    starts: list[int] = []
    covered: set[int] = set()
    for tick in range(valid):
        start = next((tick - offset for offset in offsets if 0 <= tick - offset <= last), None)
        if tick not in covered and start is not None:
            starts.append(start)
            covered.update(start + offset for offset in offsets)
    return starts
