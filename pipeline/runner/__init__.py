"""Map one pure function over many clips: on the cores of this machine (`run`), or on a Ray cluster (`cluster.run`)."""

from pipeline.runner.local import cores, run
from pipeline.runner.worker import Answer, Task, Work

__all__ = ["Answer", "Task", "Work", "cores", "run"]
