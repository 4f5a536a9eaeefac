"""Saves of a training, in its step's folder: a lost worker costs what came after the last of them, and no bits.

``saves/<unit>.json`` names the last one, with its checksum: how far the training has come, and the file of its weights
and velocities, as safetensors. A save is whole or not there. One that is damaged, or another training's, is not used,
and a note says so. All go when the step is finished; no checksum is kept of them.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkvb.checkpoint import safetensors_head
from dkvb.spilled import parts
from dkvb.training import Reached, State
from store.artefacts import Artefact, as_written, read_record, write_record
from store.errors import ArtefactDamaged, ArtefactMissing, NotARoot
from store.files import exists, on_disk, remove, write_atomic
from store.places import Place
from store.recording import recording

FORMAT = "dkvb-save/1"

EVERY_S = 60.0
"""Seconds between two saves at least."""

SHARE = 4.0
"""How many times as long as the last save took it is to the next one at least."""


class TrainingSaves:
    """The saves of one unit."""

    def __init__(self, output: Artefact, unit: str) -> None:
        self._output, self._unit = output, unit
        self._record = output.saves / f"{unit}.json"
        self._file: Place | None = None
        """That of the last save, which goes when there is another one."""
        self._last, self._cost = time.monotonic(), 0.0
        self.notes: list[str] = []
        """What the user should know."""

    def load(self, state: State) -> Reached | None:
        """Read the last save into the tensors of a state; None, and they are as they were, where none can be used.

        raises: OSError; PlaceUnreachable.
        """
        if not exists(self._record):
            return None
        try:
            with as_written(self._record):
                reached, file, stamp = self._parsed(read_record(self._record))
            self._read(file, stamp, state, reached)
        except (ArtefactDamaged, ArtefactMissing, FileNotFoundError, NotARoot) as error:
            self.notes.append(f"{self._unit}: a save was not used, and the training began anew: {error}")
            return None
        self._file = file
        phase = "the search for the number of epochs" if reached.searching else "the training"
        self.notes.append(f"{self._unit}: went on after epoch {reached.epochs} of {phase}, which was saved")
        return reached

    def save(self, state: State, reached: Reached) -> None:
        """Save a state unless the last save is too near; where that fails, the training goes on, and a note says so."""
        began = time.monotonic()
        if began - self._last < max(EVERY_S, SHARE * self._cost) or self._output.is_done(self._unit):
            return
        file = self._output.saves / f"{self._unit}.{secrets.token_hex(8)}.safetensors"
        try:
            with recording(self._output.saves) as files:  # not among the files of the unit, which stay
                write_atomic(file, self._bytes(state, reached))
                content = {**self._about(reached), "file": file.name, "stamp": files[file.name]}
                write_record(self._record, content)
        except OSError as error:
            self.notes.append(f"{self._unit}: epoch {reached.epochs} could not be saved: {error}")
        else:
            if self._file is not None:
                remove(self._file)
            self._file = file
        self._last = time.monotonic()
        self._cost = self._last - began

    def _about(self, reached: Reached) -> dict[str, Any]:
        """What a save is of."""
        return {
            "format": FORMAT,
            "step": f"{self._output.step}/{self._output.digest}",
            "unit": self._unit,
            "searching": reached.searching,
            "epochs": reached.epochs,
            "validation": list(reached.validation),
        }

    def _parsed(self, content: dict[str, Any]) -> tuple[Reached, Place, str]:
        """What a record says; raises: ValueError where it is that of something else."""
        validation = tuple(float(share) for share in content["validation"])
        reached = Reached(searching=content["searching"], epochs=content["epochs"], validation=validation)
        name, stamp = str(content.pop("file")), str(content.pop("stamp"))
        if content != self._about(reached) or type(reached.epochs) is not int or type(reached.searching) is not bool:
            raise ValueError(f"it is of {content['step']}, unit {content['unit']}")
        if not re.fullmatch(rf"{self._unit}\.[0-9a-f]{{16}}\.safetensors", name):
            raise ValueError(f"it names a file {name!r}")
        return reached, self._output.saves / name, stamp

    def _head(self, state: State, reached: Reached) -> bytes:
        """The first bytes of the file."""
        sizes = {name: ("F32", tuple(tensor.shape), tensor.nbytes) for name, tensor in tensors(state).items()}
        return safetensors_head(self._about(reached), sizes)

    def _bytes(self, state: State, reached: Reached) -> Iterator[bytes | memoryview]:
        """The file in parts."""
        yield self._head(state, reached)
        for tensor in tensors(state).values():
            for part in parts(tensor):
                yield part.cpu().numpy().view(np.uint8).data

    def _read(self, path: Place, stamp: str, state: State, reached: Reached) -> None:
        """Read a file into a state's tensors; raises: ArtefactDamaged, and they are zero again; FileNotFoundError."""
        head = self._head(state, reached)
        size, whole = len(head) + sum(tensor.nbytes for tensor in tensors(state).values()), hashlib.sha256(head)
        damaged = ArtefactDamaged(f"{path}: does not hold what was written: the file was damaged or changed since")
        with on_disk(path) as local, local.open("rb") as file:
            if local.stat().st_size != size or file.read(len(head)) != head:
                raise damaged
            for tensor in tensors(state).values():
                for part in parts(tensor):
                    data = bytearray(part.nbytes)
                    file.readinto(data)
                    whole.update(data)
                    part.copy_(torch.frombuffer(data, dtype=torch.float32))
        if f"{whole.hexdigest()} {size}" != stamp:
            for tensor in tensors(state).values():
                for part in parts(tensor):
                    part.zero_()
            raise damaged


def tensors(state: State) -> dict[str, Tensor]:
    """The tensors of a state by name, in the order in which they are written."""
    return {"weights": state.weights} | ({} if state.velocity is None else {"velocity": state.velocity})


def drop(output: Artefact) -> None:
    """Remove the saves of a step that is finished."""
    remove(output.saves)
