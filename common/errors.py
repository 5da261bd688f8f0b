"""Errors that end a command; `common.command` turns each into one line and an exit code."""


class WorkError(Exception):
    """The work could not be done. The message names the clip or file, the reason and the remedy (exit code 1)."""


class ParamError(Exception):
    """A param or an argument is wrong. The message names the key, its value and the allowed values (exit code 2)."""
