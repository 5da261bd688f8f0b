"""Free memory of host and GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes of host memory that are free or hold caches that can be dropped, within the limits of the control groups."""
    return min([_free_of_host(), *_free_of_groups(_GROUPS, _MOUNT)])


def free_gpu_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that are free; 0 of another device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _free_of_host() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_of_groups(groups: Path, mount: Path) -> Iterator[int]:
    """Bytes below the limit of each of this process's control groups that has one (version 2, as in containers).

    Args:
        groups: lines `number:controllers:path` as in /proc/self/cgroup.
        mount: /sys/fs/cgroup. In a container it may begin at the container's own group, without the path above it.
    """
    try:
        paths = [line.split(":", 2)[2] for line in groups.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return
    for path in paths:
        folder = mount / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(mount):
                break
            try:
                limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
                statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            except OSError:
                continue
            if limit.isdecimal():
                yield max(0, int(limit) - int(used) + int(statistics.get("inactive_file", 0)))
