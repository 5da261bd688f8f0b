"""What both packages stand on: typed params, atomic files, and the manners of a command line.

Only the standard library, NumPy-free and quick to import: `pipeline` and `training` never import each other,
and both import this.
"""
