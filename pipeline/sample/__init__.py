"""The embedded sample: a synthetic corpus in the layout of the datasets' hosts, the same bytes on every machine."""

from pipeline.sample.mirror import build_mirror

__all__ = ["build_mirror"]
