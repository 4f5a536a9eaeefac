"""Random generators named by their purpose."""

import torch

from dkvb.seeds import generator, numpy_generator, stream


def draws(seed: int, *names: str | int) -> torch.Tensor:
    return torch.randn(11, generator=generator(seed, *names))


def test_equal_arguments_give_equal_streams():
    assert torch.equal(draws(7, "keys", 3), draws(7, "keys", 3))


def test_the_global_generator_neither_matters_nor_moves():
    torch.manual_seed(1)
    one, state = draws(7, "keys", 3), torch.get_rng_state()
    torch.manual_seed(2)
    other = draws(7, "keys", 3)
    assert torch.equal(one, other)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_purpose_and_index_each_change_the_stream():
    streams = [draws(7, "keys", 3), draws(8, "keys", 3), draws(7, "projection", 3), draws(7, "keys", 4), draws(7)]
    for i, one in enumerate(streams):
        for other in streams[:i]:
            assert not torch.equal(one, other)


def test_the_codebooks_of_many_models_all_draw_differently():
    # torch keeps the low 32 bits of a seed: the first number drawn tells two streams apart.
    first = {
        tuple(torch.randint(1 << 31, (3,), generator=generator(seed, purpose, codebook)).tolist())
        for seed in range(5)
        for purpose in ("keys", "projection")
        for codebook in range(256)
    }
    assert len(first) == 5 * 2 * 256


def test_the_stream_of_a_purpose_is_the_same_in_every_release():
    # Changing this number silently redraws every key and mask of existing experiments.
    assert generator(7, "keys", 3).initial_seed() == 17820439474771694949
    assert stream(7, "keys", 3) == 17820439474771694949


def test_numpy_draws_from_streams_of_the_same_names():
    streams: list[tuple[int, tuple[str | int, ...]]] = [
        (7, ("keys", 3)),
        (8, ("keys", 3)),
        (7, ("projection", 3)),
        (7, ("keys", 4)),
        (7, ()),
    ]
    drawn = [tuple(numpy_generator(seed, *names).random_raw(3).tolist()) for seed, names in streams]
    assert drawn == [tuple(numpy_generator(seed, *names).random_raw(3).tolist()) for seed, names in streams]
    assert len(set(drawn)) == len(streams)
    assert drawn[0] == (5838001364362681315, 18368364529985759964, 10467670751062964457)  # in every release
