"""How fast a run of `download` was: the line that it ends with. Nothing that is written depends on it."""

from pipeline.fetch.http import RateLimit
from pipeline.runner.speed import Speed


class Traffic:
    """The bytes and clips of one run of `download`, counted while it runs.

    Args:
        max_mb_per_s: of all hosts and mirrors together; None: unlimited.

    Attributes:
        web: limits and counts the bytes that hosts and mirrors send.
        youtube: clips that yt-dlp has fetched, which it limits itself.
        probed: files that have arrived, or are read in place; not those that were probed in an earlier run.
    """

    def __init__(self, max_mb_per_s: float | None = None) -> None:
        self._max_mb_per_s = max_mb_per_s
        self.web = RateLimit(None if max_mb_per_s is None else max_mb_per_s * 1e6)
        self.youtube, self.probed = Speed(), Speed()

    @property
    def received(self) -> int:
        """Bytes that came over the network."""
        return self.web.received + self.youtube.bytes

    def line(self) -> str:
        """Clips, seconds, clips/s and MB/s, and its share of `download.max_mb_per_s` where that is set.

        MB/s are those received; where every file was in place already, those of the clips that were read.
        """
        return describe(self.probed.clips, self.probed.seconds, self.received, self.probed.bytes, self._max_mb_per_s)


def describe(clips: int, seconds: float, received: int, read: int, max_mb_per_s: float | None) -> str:
    """See `Traffic.line`."""
    seconds = max(seconds, 1e-9)
    text = f"download: {clips:,} clips in {seconds:,.1f} s, {clips / seconds:,.1f} clips/s"
    if not received:
        return f"{text}, {read / 1e6 / seconds:,.1f} MB/s read in place"
    mb_per_s = received / 1e6 / seconds
    text += f", {mb_per_s:,.1f} MB/s received"
    return text if max_mb_per_s is None else f"{text}, {mb_per_s / max_mb_per_s:.0%} of download.max_mb_per_s"
