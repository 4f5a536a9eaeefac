"""The store by which Zarr reads and writes a place. Whoever only reads needs no Zarr (`store.chunks`)."""

import asyncio
from pathlib import Path
from typing import Self

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from store.checksums import artefact_folder, ledger_of
from store.files import named, write_atomic
from store.links import check_way
from store.places import Place, reported
from store.recording import recorded, stamp


class ArtefactStore(WrapperStore[Store]):
    """Zarr on a disk or an object store: a chunk is durable before a marker names it, and checked when it is read."""

    def __init__(self, store: Store, place: Place) -> None:
        super().__init__(store)
        self._place = place
        self._ledger = ledger_of(place) if store.read_only else None
        self._folder = artefact_folder(place) or place

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._place)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read one file.

        raises: ArtefactDamaged where it is missing or not as it was written; NotARoot where it lies elsewhere.
        """
        if isinstance(self._place, Path):
            check_way(str(self._folder), f"{self._place}/{key}".removeprefix(f"{self._folder}/"))
        value = await super().get(key, prototype, byte_range)
        if self._ledger is not None:
            read_stamp = None if value is None else await asyncio.to_thread(stamp, value.to_bytes())
            self._ledger.check(f"{self._place}/{key}", read_stamp)
        return value

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file and wait until it is on the disk."""
        if isinstance(self._place, Path):
            await asyncio.to_thread(write_atomic, self._place / key, value.to_bytes())
        else:
            recorded(f"{self._place}/{key}", value.to_bytes())
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write the metadata of a new group or array."""
        if not isinstance(self._place, Path):
            await super().set_if_not_exists(key, value)
            return
        with named(self._place / key):
            await super().set_if_not_exists(key, value)


def zarr_store(path: Place) -> Store:
    """The store by which Zarr reads and writes a place."""
    if isinstance(path, Path):
        return ArtefactStore(LocalStore(path), path)
    with reported(path):
        return ArtefactStore(FsspecStore.from_url(str(path), storage_options=dict(path.storage_options)), path)
