"""Names of the sections of params.yaml, of both packages, so that each rejects a misspelt section of the other."""

PIPELINE = ("corpus", "sources", "engine", "download", "trim", "resample", "resize", "merge", "split", "shard")
TRAINING = ("loader", "train", "pretrain", "stage1", "stage2", "stage3", "evaluate", "ablation")
SECTIONS = PIPELINE + TRAINING
