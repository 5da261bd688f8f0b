"""Removal of credentials from text that is stored or printed."""

import re
from typing import Any

HIDDEN = "***"
_SECRET_PARAMS = frozenset({"proxy", "cookiefile", "cookiesfrombrowser"})

# The quantifiers are bounded, so that the time is linear in the text.
_USER_INFO = re.compile(r"(?<=://)[^\s/?#'\"<>]{1,500}@")
_BARE_USER_INFO = re.compile(r"(?<![\w./])[\w.+%~-]{1,100}:[^\s/@:'\"<>]{1,200}@(?=[\w\[])")  # `user:password@proxy`
_QUERY = re.compile(r"(://[^\s?#'\"<>]{0,2000})\?([^\s#'\"<>]*)")
_QUERY_OF_PATH = re.compile(r"()\?(?=[\w.~%-]{1,100}=)([^\s#'\"<>]*)")  # urllib3 names the path of a URL alone
_PAIR = re.compile(
    r"\b((?:X-Amz-[\w-]+|X-Goog-[\w-]+|AWSAccessKeyId|Signature|sig|(?:[\w-]{1,20}_)?token|passw(?:or)?d|secret|api_?key)=)"
    r"[^\s&,;'\"<>]+",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"://[^\s/?#@:'\"<>]{0,100}:[^\s/?#@'\"<>]{1,500}@")
_HARMLESS = re.compile(r"v=[\w-]+")  # the id of a YouTube video


def redact(text: str) -> str:
    """`text` with the user info and the query of every URL removed, and other `token=...` pairs hidden.

    Of a query, the id of a YouTube video is kept: `https://host/watch?v=abc&sig=1` becomes `https://host/watch?v=abc`.
    """
    text = _BARE_USER_INFO.sub("", _USER_INFO.sub("", text))
    text = _QUERY_OF_PATH.sub(_without_secrets, _QUERY.sub(_without_secrets, text))
    return _PAIR.sub(rf"\g<1>{HIDDEN}", text)


def has_password(text: str) -> bool:
    """Whether `text` has a password before the host of a URL or proxy, or a pair such as `token=...`."""
    return any(pattern.search(text) for pattern in (_PASSWORD, _BARE_USER_INFO, _PAIR))


def redact_params(values: Any) -> Any:
    """Values as read from YAML, with every text redacted and the values of `proxy` and the cookie params hidden."""
    if isinstance(values, dict):
        return {
            key: HIDDEN if key in _SECRET_PARAMS and value is not None else redact_params(value)
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [redact_params(value) for value in values]
    return redact(values) if isinstance(values, str) else values


def _without_secrets(query: re.Match[str]) -> str:
    kept = [pair for pair in query[2].split("&") if _HARMLESS.fullmatch(pair)]
    return query[1] + ("?" + "&".join(kept) if kept else "")
