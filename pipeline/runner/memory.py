"""The memory limit of a worker process: its share of the machine, and whether it was reached.

Linux only: RLIMIT_DATA bounds the private writable memory of a process. On other systems there is no limit.
"""

import errno
import os
import sys
from pathlib import Path

MIN_SHARE_MB = 2048  # 8K video in H.264 with 16 reference frames takes 1,580 MB
_MAX_MARGIN = 256 << 20  # bytes; more than one plane of the largest frame that is decoded, 67 million pixels of 16 bits
_FRACTION = 4  # of the limit that the margin is at most
_OPENCV_NO_MEMORY = -4


def share_mb(workers: int) -> int:
    """Megabytes for each of `workers` processes: an equal share of the machine's memory, at least `MIN_SHARE_MB`."""
    return max(MIN_SHARE_MB, (machine_bytes() // workers) >> 20)


def machine_bytes() -> int:
    """Physical memory, or the limit of this process's control group if that is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return min([physical, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


class MemoryLimit:
    """A limit on the memory of this process, set for the rest of its life.

    What is resident when it is set counts; address space that is reserved but unused (thread stacks, arenas) does not.

    Args:
        megabytes: None sets no limit.
    """

    def __init__(self, megabytes: int | None) -> None:
        self._bytes: int | None = None
        self._reason = "it needs more memory than the machine has"
        if megabytes is None or sys.platform != "linux":
            return
        import resource  # absent on Windows

        self._reason = f"it needs more memory than engine.memory_mb allows a worker process ({megabytes:,} MB)"
        memory = _status()
        wanted = memory["VmData"] - memory["VmRSS"] + (megabytes << 20)
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        self._bytes = min([wanted, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
        self._margin = min(_MAX_MARGIN, (megabytes << 20) // _FRACTION)
        resource.setrlimit(resource.RLIMIT_DATA, (self._bytes, hard))

    @property
    def reason(self) -> str:
        """The detail of a clip's failure."""
        return self._reason

    def was_reached(self) -> bool:
        """Whether the process has ever come so close to its limit that an allocation may have failed.

        FFmpeg's decoders and demuxers report a failed allocation as invalid data, or as the end of the file.
        """
        if self._bytes is None:
            return False
        memory = _status()
        other = memory["VmSize"] - memory["VmData"]  # code and files
        return memory["VmPeak"] - other > self._bytes - self._margin


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of Python, NumPy, PyAV or OpenCV reports that memory or a thread could not be allocated."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (type(error).__module__ == "cv2" and getattr(error, "code", None) == _OPENCV_NO_MEMORY)
        or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))
    )


def _status() -> dict[str, int]:
    """The sizes in /proc/self/status, in bytes."""
    fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in fields}


def _group_limits(groups: Path, mounts: Path) -> list[int]:
    """Memory limits in bytes of a process's control group and the groups above it, of version 1 and 2.

    Args:
        groups: lines `number:controllers:path` as in /proc/self/cgroup.
        mounts: /sys/fs/cgroup. In a container it may begin at the container's own group, without the path above it.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return []
    limits = []
    for _, controllers, path in lines:
        if controllers == "":
            root, name = mounts, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounts / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(root):
                text = _read(group / name)
                limits += [int(text)] if text.isdecimal() else []
    return limits


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
