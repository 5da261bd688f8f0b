"""A web host of datasets."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Site:
    """The files whose official URL begins with `prefix`."""

    prefix: str
    mirror_folder: str  # folder of a mirror that has the files, by the rest of their URLs
    certificates: str | None = None  # path of a PEM bundle, for a host that sends an incomplete chain
    verify: bool = True  # False: accept any certificate
