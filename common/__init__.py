"""The base of `pipeline` and `training`, which do not import each other: params, atomic files, paths, errors, exit codes.

Imports nothing but the standard library and PyYAML.
"""
