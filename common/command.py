"""Run a command so that a person never meets a traceback for bad data, a bad param or Ctrl-C."""

import errno
import os
import sys
from collections.abc import Callable

from common.errors import ParamError, WorkError

DONE, FAILED, USAGE = 0, 1, 2


def run(main: Callable[[], None]) -> int:
    """Call `main` and return its exit code: 0 done, 1 the work could not be done, 2 wrong usage or params."""
    try:
        main()
        sys.stdout.flush()
    except ParamError as error:
        return _say(USAGE, str(error))
    except WorkError as error:
        return _say(FAILED, str(error))
    except KeyboardInterrupt:
        return _say(FAILED, "interrupted; what is finished is kept, run the same command to carry on")
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _say(FAILED, _explain(error))
    return DONE


def _say(code: int, message: str) -> int:
    print(f"\nerror: {message}" if sys.stderr.isatty() else f"error: {message}", file=sys.stderr, flush=True)
    return code


def _explain(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; free some space and run the same command to carry on"
    return f"{where}{error.strerror or error}"
