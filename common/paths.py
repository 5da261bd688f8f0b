"""Paths of shared files, relative to the project folder, in which every command runs."""

from pathlib import Path

MANIFESTS = Path("manifests")
METRICS = Path("metrics")
CHECKPOINTS = Path("checkpoints")
PLOTS = Path("plots")
LOGS = Path("logs")
MIRROR = Path("data/mirror")  # the drawn sample, in the layout of the hosts
RAW = Path("data/raw")  # files as downloaded
TRIMMED = Path("data/trimmed")  # clips cut out of longer videos; clips that are whole files stay in RAW
FILMSTRIPS = Path("data/filmstrips")
SHARDS = Path("data/shards")
LEDGERS = Path("data/ledgers")
LOCKS = Path("data/locks")
