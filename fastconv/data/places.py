"""Where data sets that fastconv does not download may lie: folders that the user names, then the cache."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from fastconv.data.errors import DatasetNotFoundError
from fastconv.data.idx import PathLike
from fastconv.data.mnist import cache_dir

__all__ = ["find"]


def find(
    title: str, folders: Sequence[str], files: Callable[[Path], object], data_dir: PathLike | None, where_from: str
) -> Path:
    """The first folder that holds a data set.

    Parameters
    ----------
    title : str
        Of the data set, for messages.
    folders : sequence of str
        What its folder may be called within `data_dir`, ``$FASTCONV_DATA`` and the cache.  `data_dir` may also be that
        folder itself; the other two may not, as several data sets have files of the same names.
    files : callable
        Given a folder: something true where the data set's files are in it.
    data_dir : path or None
    where_from : str
        Where a user gets the files.

    Raises
    ------
    DatasetNotFoundError
        If there is none; it says where the files should be put.
    """
    roots = [] if data_dir is None else [(Path(data_dir), "data_dir")]
    if os.environ.get("FASTCONV_DATA"):
        roots.append((Path(os.environ["FASTCONV_DATA"]), "$FASTCONV_DATA"))
    roots.append((cache_dir(), "the cache"))
    for root, whose in roots:
        candidates = [root / name for name in folders]
        if whose == "data_dir" or root.name in folders:
            candidates.append(root)
        for folder in candidates:
            if folder.is_dir() and files(folder):
                return folder
    looked = ", ".join(
        f"{whose} {root}" + ("" if root.is_dir() else " (which does not exist)") for root, whose in roots
    )
    raise DatasetNotFoundError(
        f"{title}: its files are not in {looked}, and fastconv does not download them; "
        f"put them in {roots[-1][0] / folders[0]}, or name their folder with --data-dir ({where_from})"
    )
