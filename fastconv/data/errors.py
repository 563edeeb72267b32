"""What can go wrong with data: three exceptions, each also the built-in one that a caller may already catch."""

__all__ = ["DataError", "DatasetNotFoundError", "DownloadError"]


class DataError(ValueError):
    """A file holds something else than it should: truncated, mislabelled, too long, a web page."""


class DatasetNotFoundError(FileNotFoundError):
    """A data set is neither on this machine nor could it be downloaded."""


class DownloadError(OSError):
    """A download failed, or what came was not what was asked for; nothing was kept."""
