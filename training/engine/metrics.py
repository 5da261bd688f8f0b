"""Metrics files, as DVC reads them."""

import math
from collections.abc import Mapping

from common.files import sweep, write_json
from common.paths import METRICS, PLOTS


def write_metrics(stage: str, values: Mapping[str, object]) -> None:
    """Write metrics/<stage>.json. NaN and infinite numbers, which JSON does not have, become null.

    Temporary files of killed processes are deleted from metrics/ and plots/: a stage writes its metrics last.
    """
    sweep(METRICS)
    sweep(PLOTS)
    write_json(METRICS / f"{stage}.json", _finite(values))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
