"""Saves of a training: the same bits when it is cut off anywhere, and nothing damaged or foreign in silence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dkvb import sizes
from dkvb.linear import fit_linear
from dkvb.training import Reached, State, Trained, TrainSettings
from dkvb.values import fit_values
from jobs import saves
from jobs.saves import TrainingSaves
from store.artefacts import Artefact, open_root
from store.files import names

C, M, V, N = 3, 7, 5, 211


class CutOff(BaseException):
    """What stands for a kill."""


class Killed(TrainingSaves):
    """Saves of a worker that dies after some of them."""

    left = 0

    def save(self, state: State, reached: Reached) -> None:
        super().save(state, reached)
        self.left -= 1
        if self.left < 0:
            raise CutOff


@pytest.fixture
def output(tmp_path) -> Artefact:
    return Artefact(open_root(tmp_path / "root", create=True), "values", "0123456789abcdef")


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    monkeypatch.setattr(saves, "EVERY_S", 0.0)
    monkeypatch.setattr(saves, "SHARE", 0.0)


def fit_on_codes(settings: TrainSettings, kept: TrainingSaves | None) -> tuple[Tensor, Trained]:
    gen = torch.Generator().manual_seed(1)
    codes, labels = torch.randint(M, (N, C), generator=gen), torch.randint(V, (N,), generator=gen)
    return fit_values(codes, labels, settings, m=M, v=V, seed=3, saves=kept)


def fit_on_embeddings(settings: TrainSettings, kept: TrainingSaves | None) -> tuple[Tensor, Trained]:
    gen = torch.Generator().manual_seed(1)
    z, labels = torch.randn(N, 13, generator=gen), torch.randint(V, (N,), generator=gen)
    trained = fit_linear(z, labels, settings, v=V, seed=3, saves=kept)
    return trained.weights, trained


def folder(output: Artefact) -> Path:
    return Path(str(output.saves))


FITS = pytest.mark.parametrize("fit", [fit_on_codes, fit_on_embeddings])
SETTINGS = pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(epochs=5),
        TrainSettings(epochs=3, validation=0),
        TrainSettings(optimizer="sgd", epochs=4, batch=17),
    ],
)


def cut_off(fit, settings: TrainSettings, output: Artefact, after: int) -> bool:
    """Train until a save after so many others; whether it came that far."""
    kept = Killed(output, "values")
    kept.left = after
    try:
        fit(settings, kept)
    except CutOff:
        return True
    return False


def epochs_in_all(fit, settings: TrainSettings) -> int:
    _, trained = fit(settings, None)
    return len(trained.validation) + trained.epochs


@FITS
@SETTINGS
@pytest.mark.parametrize("on_scratch", [False, True])
def test_a_training_that_is_cut_off_anywhere_goes_on_to_the_same_bits(fit, settings, on_scratch, output, monkeypatch):
    expected, how = fit(settings, None)
    if on_scratch:
        monkeypatch.setattr(sizes, "LARGE", 0)
    for after in range(epochs_in_all(fit, settings)):
        shutil.rmtree(folder(output), ignore_errors=True)
        assert cut_off(fit, settings, output, after)
        kept = TrainingSaves(output, "values")
        found, trained = fit(settings, kept)
        assert torch.equal(found, expected)
        assert (trained.epochs, trained.validation) == (how.epochs, how.validation)
        searched = min(after + 1, len(how.validation))
        searching = after + 1 == searched and bool(searched)
        phase = "the search for the number of epochs" if searching else "the training"
        epoch = after + 1 if searching else after + 1 - searched
        assert kept.notes == [f"values: went on after epoch {epoch} of {phase}, which was saved"]


@FITS
def test_one_that_is_cut_off_again_and_again_comes_to_its_end(fit, output):
    settings = TrainSettings(epochs=5)
    expected, how = fit(settings, None)
    times = 0
    while cut_off(fit, settings, output, 0):
        times += 1
    assert times == len(how.validation) + how.epochs
    assert torch.equal(fit(settings, TrainingSaves(output, "values"))[0], expected)


def test_one_save_is_kept_as_safetensors_with_all_that_an_epoch_leaves(output):
    settings = TrainSettings(epochs=5)
    cut_off(fit_on_codes, settings, output, 3)
    record, file = names(output.saves)[::-1][0], names(output.saves, ".safetensors")
    assert len(file) == 1
    assert record == "values.json"
    held = load_file(output.saves / file[0])
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {
        "weights": (C * M, V),
        "velocity": (C * M, V),
    }
    content = json.loads((output.saves / record).read_bytes())
    assert (content["searching"], content["epochs"], len(content["validation"])) == (True, 4, 4)


def damage_file(output: Artefact) -> str:
    (file,) = folder(output).glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    return file.name


def cut_file(output: Artefact) -> str:
    (file,) = folder(output).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    return file.name


def lose_file(output: Artefact) -> str:
    (file,) = folder(output).glob("*.safetensors")
    file.unlink()
    return file.name


def damage_record(output: Artefact) -> str:
    record = output.saves / "values.json"
    record.write_text(record.read_text().replace('"epochs": 2', '"epochs": 3'))
    return record.name


def cut_record(output: Artefact) -> str:
    record = output.saves / "values.json"
    record.write_bytes(record.read_bytes()[:-30])
    return record.name


def lead_elsewhere(output: Artefact) -> str:
    from store.artefacts import read_record, write_record

    record = output.saves / "values.json"
    write_record(record, {**read_record(record), "file": "../../../secret.safetensors"})
    return record.name


def of_another_step(output: Artefact) -> str:
    other = Artefact(output.root, "values", "fedcba9876543210")
    cut_off(fit_on_codes, TrainSettings(epochs=5), other, 1)
    shutil.rmtree(folder(output))
    shutil.copytree(folder(other), folder(output))
    return "fedcba9876543210"


@pytest.mark.parametrize(
    "damage", [damage_file, cut_file, lose_file, damage_record, cut_record, lead_elsewhere, of_another_step]
)
def test_a_damaged_or_foreign_save_is_not_used_and_a_note_says_so(damage, output):
    settings = TrainSettings(epochs=5)
    expected, _ = fit_on_codes(settings, None)
    cut_off(fit_on_codes, settings, output, 1)
    named = damage(output)
    kept = TrainingSaves(output, "values")
    assert torch.equal(fit_on_codes(settings, kept)[0], expected)
    assert len(kept.notes) == 1
    assert "was not used, and the training began anew" in kept.notes[0]
    assert named in kept.notes[0]


def test_a_save_of_other_sizes_is_not_used(output):
    cut_off(fit_on_codes, TrainSettings(epochs=5), output, 1)
    state = State(torch.zeros(C * M, V + 1), torch.zeros(C * M, V + 1))
    kept = TrainingSaves(output, "values")
    assert kept.load(state) is None
    assert "was not used" in kept.notes[0]
    assert not state.weights.any()


@pytest.mark.parametrize(("every", "share", "count"), [(3600.0, 0.0, 0), (0.0, 1e9, 1), (0.0, 0.0, 8)])
def test_saves_keep_their_distance(every, share, count, output, monkeypatch):
    monkeypatch.setattr(saves, "EVERY_S", every)
    monkeypatch.setattr(saves, "SHARE", share)
    written = []
    monkeypatch.setattr(saves, "write_record", lambda path, content: written.append(content["epochs"]))
    fit_on_codes(TrainSettings(epochs=8, validation=0), TrainingSaves(output, "values"))
    assert len(written) == count


def test_a_full_disk_costs_the_save_and_not_the_training(output, monkeypatch):
    def full(path: Path, data: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(saves, "write_atomic", full)
    settings = TrainSettings(epochs=2, validation=0)
    kept = TrainingSaves(output, "values")
    assert torch.equal(fit_on_codes(settings, kept)[0], fit_on_codes(settings, None)[0])
    assert len(kept.notes) == 2
    assert all("could not be saved: [Errno 28] No space left on device" in note for note in kept.notes)


def test_nothing_is_saved_of_a_unit_that_another_driver_has_done(output):
    output.mark("values", {})
    fit_on_codes(TrainSettings(epochs=2), TrainingSaves(output, "values"))
    assert names(output.saves) == []
