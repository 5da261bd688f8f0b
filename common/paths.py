"""Where things lie, relative to the project folder that every command runs in."""

from pathlib import Path

MANIFESTS = Path("manifests")
METRICS = Path("metrics")
CHECKPOINTS = Path("checkpoints")
PLOTS = Path("plots")
MIRROR = Path("data/mirror")  # the embedded sample, drawn once
RAW = Path("data/raw")  # bytes as their host gave them
TRIMMED = Path("data/trimmed")  # clips cut out of longer videos; clips cut by their publisher stay in RAW
FILMSTRIPS = Path("data/filmstrips")
SHARDS = Path("data/shards")
LEDGERS = Path("data/ledgers")
