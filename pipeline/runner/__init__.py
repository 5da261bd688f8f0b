"""Maps one function `work(row, settings)` over many rows: on the cores of this machine, or on a Ray cluster."""

from pipeline.runner.local import cores, run, used
from pipeline.runner.worker import Answer, Job, Task

__all__ = ["Answer", "Job", "Task", "cores", "run", "used"]
