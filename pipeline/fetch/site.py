"""A web host of datasets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """The files whose official URL begins with `prefix`."""

    prefix: str
    mirror_folder: str  # holds what the URLs name after `prefix`
    certificates: str | None = None  # path of a PEM bundle, for a host that sends an incomplete chain
    verify: bool = True  # False: accept any certificate
