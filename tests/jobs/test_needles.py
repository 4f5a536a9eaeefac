"""Searches for bytes that must be gone: what is there is found, wherever it lies, and nothing else."""

import numpy as np
import pytest

from tests.jobs import needles
from tests.jobs.needles import Needles


def drawn(seed, size, values=256):
    return np.random.default_rng(seed).integers(0, values, size, np.uint8).tobytes()


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 1000, 4964, 4965, 4966, 4967, 4968])
@pytest.mark.parametrize("size", [4, 8, 32])
def test_a_piece_is_found_at_every_place(at, size):
    noise, pieces = drawn(1, 5000), [drawn(seed, size) for seed in range(2, 9)]
    assert not Needles(pieces).any_in(noise)
    for piece in pieces:
        there = noise[:at] + piece + noise[at + size :]
        assert Needles(pieces).any_in(there)
        assert Needles([piece]).any_in(there)
        assert not Needles([other for other in pieces if other != piece]).any_in(there)


@pytest.mark.parametrize("common", [0, 10, 10_000])
def test_it_says_what_in_says_of_bytes_that_repeat(common, monkeypatch):
    monkeypatch.setattr(needles, "COMMON", common)
    data = drawn(1, 3000, 3)
    for seed in range(200):
        start, size = np.random.default_rng([7, seed]).integers((0, 4), (2900, 90)).tolist()
        piece = bytearray(data[start : start + size])
        if seed % 2:
            piece[-1] ^= 1
        assert Needles([bytes(piece)]).any_in(data) == (bytes(piece) in data)


def test_zeros_and_files_that_are_short():
    assert Needles([bytes(32)]).any_in(bytes(100_000))
    assert not Needles([bytes(31) + b"\1"]).any_in(bytes(100_000))
    for size in range(9):
        assert Needles([b"abcd"]).any_in(b"abcd" + bytes(size))
        assert not Needles([b"abcd"]).any_in(b"abcd"[: min(size, 3)])
    assert not Needles([]).any_in(drawn(1, 100))


def test_a_piece_that_begins_before_the_file_or_ends_past_it_is_not_there():
    piece = bytes(20) + b"abcd" + bytes(20)
    assert not Needles([piece]).any_in(piece[1:])
    assert not Needles([piece]).any_in(piece[:-1])
    assert Needles([piece]).any_in(piece)
