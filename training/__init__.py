"""Shards in, checkpoints, metrics and figures out. Never imports `pipeline`."""
