"""The top level of params.yaml. Every section is listed here, so that a misspelt one is refused whichever package reads it."""

PIPELINE = ("corpus", "sources", "engine", "download", "trim", "resample", "resize", "merge", "split", "shard")
TRAINING = ("pretrain", "stage1", "stage2", "stage3", "evaluate")
SECTIONS = PIPELINE + TRAINING
