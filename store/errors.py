"""Errors of the store package: one base, every leaf also a builtin."""


class StoreError(Exception):
    """Base of every error the store package raises on purpose; its text is meant for the user."""

    exit_code = 1
    """Exit code of a command that ends with this error."""
    final = True
    """Whether another attempt would fail the same way."""


class ImageSourceError(StoreError, ValueError):
    """The description of an image data set is wrong: its kind, pattern, class file or shard size."""


class ImagesMissing(StoreError, FileNotFoundError):
    """A location, a pattern or a published file leads to no images."""


class ImageDataError(StoreError, ValueError):
    """Images or labels that are broken, where the caller does not want to go on without them."""


class ShardChanged(StoreError, ValueError):
    """A shard no longer holds the items its manifest recorded."""


class ArtefactMissing(StoreError, FileNotFoundError):
    """An artefact, array or table that does not exist."""


class ArtefactDamaged(StoreError, ValueError):
    """A file of an artefact that is missing, or no longer holds what was written."""


class ArtefactDestroyed(StoreError, LookupError):
    """A file of an artefact that was destroyed on purpose, as a request asked."""


class ChunkMismatch(StoreError, ValueError):
    """A block that is not made of whole chunks: writing it could lose another worker's data."""


class NotARoot(StoreError, ValueError):
    """A folder given as a root that is not one, or that holds what dkvb does not write."""


class RootUnusable(StoreError, PermissionError):
    """A root that cannot be read or written."""


class BadAddress(StoreError, ValueError):
    """An address of a store that makes no sense, or whose file system is not installed."""


class PlaceUnreachable(StoreError, ConnectionError):
    """An object store that does not answer, or turns this process away."""

    final = False


class PlaceTaken(StoreError, FileExistsError):
    """A folder that is to be made exists already, and holds something else."""


class NotWritten(StoreError, OSError):
    """A data set that could not be written; nothing of it is left behind."""
