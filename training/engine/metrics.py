"""Metrics files, as DVC reads them."""

import math
from collections.abc import Mapping

from common.files import write_json
from common.paths import METRICS


def write_metrics(stage: str, values: Mapping[str, object]) -> None:
    """Write metrics/<stage>.json. NaN and infinite numbers, which JSON does not have, become null."""
    write_json(METRICS / f"{stage}.json", _finite(values))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
