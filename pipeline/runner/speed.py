"""How fast a run of a stage was: the line that it ends with. Nothing that is written depends on it."""

import time
from dataclasses import dataclass, field


@dataclass
class Speed:
    """Clips done since this object was made, and what their work took.

    Attributes:
        clips: those done in this run; not those that the ledger has from earlier ones.
        decode_s: seconds in the decoder, of all workers together.
        workers: processes that shared the work; None where their number varies, on a cluster.
    """

    clips: int = 0
    decode_s: float = 0.0
    workers: int | None = None
    _started: float = field(default_factory=time.perf_counter)

    def add(self, clips: int = 1, decode_s: float = 0.0) -> None:
        """Count clips that are done."""
        self.clips += clips
        self.decode_s += decode_s

    def line(self, name: str) -> str:
        """Clips, seconds and clips/s of the stage `name`, and its share of the decode limit.

        The limit is the rate of workers that do nothing but decode: the share is the part of their time in the decoder.
        """
        return describe(name, self.clips, time.perf_counter() - self._started, self.workers, self.decode_s)


def describe(name: str, clips: int, seconds: float, workers: int | None, decode_s: float) -> str:
    """See `Speed.line`."""
    text = f"{name}: {clips:,} clips in {seconds:,.1f} s, {clips / max(seconds, 1e-9):,.1f} clips/s"
    if workers is None:
        return text
    text += f" on {workers} worker{'s' if workers > 1 else ''}"
    return f"{text}, {decode_s / (seconds * workers):.0%} of the decode limit" if decode_s else text
