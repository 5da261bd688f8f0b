"""How fast a run of a stage was: the line that it ends with. Nothing that is written depends on it."""

import time
from dataclasses import dataclass, field


@dataclass
class Speed:
    """Clips done since this object was made, and what their work took.

    Attributes:
        clips: those done in this run; not those that the ledger has from earlier ones.
        decode_s: seconds in the decoder, of all workers together.
        bytes: of the files that the work has read or written, where its result says so.
        workers: processes that shared the work; None where their number varies, on a cluster.
    """

    clips: int = 0
    decode_s: float = 0.0
    workers: int | None = None
    bytes: int = 0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since this object was made."""
        return time.perf_counter() - self._started

    def add(self, clips: int = 1, decode_s: float = 0.0, size: int = 0) -> None:
        """Count clips that are done; `size` is the bytes of their files."""
        self.clips += clips
        self.decode_s += decode_s
        self.bytes += size

    def line(self, name: str) -> str:
        """Clips, seconds and clips/s of the stage `name`, and its share of the decode limit.

        The limit is the rate of workers that do nothing but decode: the share is the part of their time in the decoder.
        """
        return describe(name, self.clips, self.seconds, self.workers, self.decode_s)


def describe(name: str, clips: int, seconds: float, workers: int | None, decode_s: float) -> str:
    """See `Speed.line`."""
    text = f"{name}: {clips:,} clips in {seconds:,.1f} s, {clips / max(seconds, 1e-9):,.1f} clips/s"
    if workers is None:
        return text
    text += f" on {workers} worker{'s' if workers > 1 else ''}"
    return f"{text}, {decode_s / (seconds * workers):.0%} of the decode limit" if decode_s else text
