"""Processes that end when the process that started them has ended, for whatever reason."""

import os
import signal
import subprocess
import threading
from pathlib import Path

from common import signals

_POLL_S = 1.0
_GRACE_S = 10.0  # to end in good order
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})


def end_with_parent() -> None:
    """In a child process of `multiprocessing`: end at once when the parent has ended, with all processes started here.

    The child becomes the leader of a process group, so that it and ffmpeg or yt-dlp's helpers end together.
    """
    import multiprocessing  # here, because this module is imported before signals are handled
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    os.setpgid(0, 0)

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def kill_group(leader: int | None) -> None:
    """Kill a child process and the process group that it leads; no error if they have ended."""
    if leader is None:
        return
    for kill in (os.killpg, os.kill):  # the process alone if it is too young to lead a group
        try:
            kill(leader, signal.SIGKILL)
            return
        except (ProcessLookupError, PermissionError):  # macOS denies signals to a group of zombies
            continue


def end_with_launcher() -> None:
    """In a stage that `dvc repro` or `torchrun` has started: end in good order, as after SIGTERM, when these have ended.

    If they are killed, they do not end the stage. A stage that was started by hand, in the background or under nohup, runs on
    when its parent has ended.
    """
    # Set for the commands of stages, and for the processes of a run, of which DVC may have started the launcher.
    launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "DVC" if "DVC_STAGE" in os.environ else None
    if launcher is None:
        return
    parents = _parents()
    # An orphan's parent is process 1, which may be DVC itself in a container.
    orphan = parents[-1] == 1 and not _parent_and_name(1)[1].startswith(("dvc", "python"))

    def watch() -> None:
        while (
            not orphan and os.getppid() == parents[0] and (len(parents) == 1 or _parents()[: len(parents)] == parents)
        ):
            threading.Event().wait(_POLL_S)
        signals.stop(f"{launcher} has ended", _GRACE_S)

    threading.Thread(target=watch, name="end with launcher", daemon=True).start()


def _parents() -> list[int]:
    """Process ids of the parent and, as long as these are shells, of its parents: DVC runs commands in a shell."""
    found = [os.getppid()]
    while found[-1] > 1:
        parent, name = _parent_and_name(found[-1])
        if name not in _SHELLS:
            break
        found.append(parent)
    return found


def _parent_and_name(process: int) -> tuple[int, str]:
    """Process id of a process's parent, and the name of its program; (0, "") if it has ended."""
    try:
        if Path("/proc/self/stat").exists():
            head, _, tail = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")
            return int(tail.split()[1]), head.partition("(")[2]
        command = ["ps", "-o", "ppid=,comm=", "-p", str(process)]
        parent, name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split(None, 1)
        return int(parent), Path(name.strip()).name.removeprefix("-")
    except (OSError, ValueError, IndexError):
        return 0, ""
