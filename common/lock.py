"""A stage runs once at a time in a project folder."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator

from common.errors import WorkError
from common.paths import LOCKS

_UNSUPPORTED = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # of some network file systems
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def alone(stage: str, main: Callable[[], None]) -> Callable[[], None]:
    """`main` under the lock of a stage."""

    def locked() -> None:
        with hold(stage):
            main()

    return locked


@contextlib.contextmanager
def hold(stage: str) -> Iterator[None]:
    """Hold the lock of a stage, which its process loses when it ends, for whatever reason: it never has to be removed.

    Where files cannot be locked or written, there is no lock.

    Raises:
        WorkError: another process holds it.
    """
    try:
        LOCKS.mkdir(parents=True, exist_ok=True)
        file = (LOCKS / stage).open("a+")
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise WorkError(
                f"{stage} is running in this folder already, as process {owner}: wait for its end"
            ) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
