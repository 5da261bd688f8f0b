"""Downloads in a background thread."""

import atexit
import threading
from pathlib import Path

from common.errors import WorkError
from pipeline.fetch.hosts import Cancelled, Hosts
from pipeline.records.failures import ClipError

_STOP_WAIT_S = 5.0  # a thread that is still waiting for its host by then ends at the next bytes, or with the process


class BackgroundDownload:
    """`Hosts.download` of one file: `start` begins it in a thread, `result` waits for it."""

    def __init__(self, hosts: Hosts, url: str, target: Path) -> None:
        self._hosts, self._url, self._target = hosts, url, target
        self._thread: threading.Thread | None = None
        self._cancel = threading.Event()
        self._error: ClipError | None = None

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            # A thread that is killed at exit while it holds the lock of stderr crashes the interpreter.
            atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread; what it has downloaded stays on disk."""
        if self._thread is not None:
            self._cancel.set()
            self._thread.join(_STOP_WAIT_S)
            self._reset()

    def result(self) -> Path:
        """Wait for the thread, or download in this one if none was started.

        Raises:
            WorkError, ClipError: see `Hosts.download`.
        """
        if self._thread is not None:
            self._thread.join()
            error = self._error
            self._reset()
            if error is not None:
                raise error
        return self._hosts.download(self._url, self._target)

    def _run(self) -> None:
        try:
            self._hosts.download(self._url, self._target, self._cancel)
        except ClipError as error:
            self._error = error
        except (Cancelled, WorkError, OSError):
            return  # `result` downloads again: by then a full disk may have free space

    def _reset(self) -> None:
        self._thread, self._error = None, None
        self._cancel = threading.Event()
        atexit.unregister(self.stop)
