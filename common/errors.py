"""The two ways a command can end badly; `common.command` turns each into one line and an exit code."""


class WorkError(Exception):
    """The work could not be done. The message says which clip or file, why, and what to do (exit code 1)."""


class ParamError(Exception):
    """A param or an argument is wrong. The message names the key, its value and what is allowed (exit code 2)."""
