"""The embedded sample: a small corpus that the project draws itself, in exactly the layout of the datasets' hosts."""

from pipeline.sample.mirror import build_mirror

__all__ = ["build_mirror"]
