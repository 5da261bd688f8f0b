"""Values of HTTP response headers, parsed strictly: ASCII digits only, and no more of them than any real value has."""

import email.utils
import re
from datetime import UTC, datetime

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)", re.IGNORECASE)
_DATE_LIMIT = 64  # characters


def parse_count(text: str) -> int | None:
    """A number of bytes or seconds, at most 15 digits; None: not such a number."""
    digits = text.strip(" \t")
    return int(digits) if re.fullmatch("[0-9]{1,15}", digits) else None


def parse_content_range(text: str) -> tuple[int, int, int | None] | None:
    """`bytes 5-9/20` as (5, 10, 20): begin, end (exclusive), total, which is None for `*`; None: not a valid range."""
    match = _CONTENT_RANGE.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    begin, end, total = int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])
    return (begin, end, total) if begin < end and (total is None or end <= total) else None


def parse_retry_after(text: str) -> float:
    """Seconds to wait; RFC 9110, 10.2.3: a number of seconds, or a date. 0 for anything else."""
    seconds = parse_count(text)
    if seconds is not None:
        return float(seconds)
    try:
        moment = email.utils.parsedate_to_datetime(text[:_DATE_LIMIT])
        return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError):  # not a date, or one that datetime cannot represent
        return 0.0
