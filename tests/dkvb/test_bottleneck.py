"""The bottleneck as a model, masked or not, and its checkpoint."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save, save_file

from dkvb.bottleneck import Bottleneck, decode
from dkvb.checkpoint import FORMAT, read_header
from dkvb.codes import Codebooks, encode
from dkvb.errors import BadCheckpoint, ShapeMismatch
from tests.dkvb import naive

C, M, V, N = 5, 7, 3, 23
TENSORS = ("projection", "keys", "values", "selectable")
HEADER = {
    "classes": ["tench", "English springer", "chaîne « scie »"],
    "backbone": {"name": "ViT-B-32-quickgelu", "layers": [3, 4], "mean": [0.48145466, 1e-30]},
    "selectable": "used in training",
    "digests": {"keys": "ab" * 32},
    "nothing": None,
    "flag": True,
    "count": 10**15 + 1,
}


def random_mask(seed: int, share: float = 0.5, *, c: int = C, m: int = M) -> torch.Tensor:
    return torch.rand(c, m, generator=torch.Generator().manual_seed(seed)) < share


@pytest.fixture
def model() -> Bottleneck:
    plain = naive.random_bottleneck(1, c=C, m=M, v=V)
    return replace(plain, header=HEADER, selectable=~random_mask(2, 0.2))


@pytest.fixture
def z() -> torch.Tensor:
    return naive.random_items(1, N)


def assert_same_model(one: Bottleneck, other: Bottleneck) -> None:
    for name in TENSORS:
        found, expected = getattr(one, name), getattr(other, name)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.contiguous().numpy().tobytes() == expected.contiguous().numpy().tobytes()
    assert one.header == other.header


def naive_logits(model: Bottleneck, z: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """A masked pair is infinitely far away."""
    distance = naive.distances(z, model.projection, model.keys)
    return naive.decode(naive.nearest(distance, model.selectable & ~mask), model.values)


# --- the forward pass ---


def test_logits_are_the_mean_of_the_values_of_the_nearest_selectable_keys(model, z):
    distance = naive.distances(z, model.projection, model.keys)
    codes = naive.nearest(distance, model.selectable)
    naive.assert_same_codes(model.codes(z), codes, distance)
    np.testing.assert_allclose(model.logits(z), naive.decode(codes, model.values), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.permutations([2, 3, 5, 7]),
    share=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    integer=st.booleans(),
)
def test_masked_logits_equal_the_naive_masked_loop(seed, sizes, share, integer):
    c, m, v, d_k = sizes
    model = naive.random_bottleneck(seed, c=c, m=m, v=v, d_k=d_k, integer=integer)
    model = replace(model, selectable=~random_mask(seed + 1, 0.2, c=c, m=m))
    z, mask = naive.random_items(seed, 13, integer=integer), random_mask(seed + 2, share, c=c, m=m)
    masked = model.masked(mask)
    distance = naive.distances(z, model.projection, model.keys)
    expected = naive.nearest(distance, model.selectable & ~mask)
    codes = masked.codes(z)
    naive.assert_same_codes(codes, expected, distance, tolerance=0 if integer else 1e-5)
    np.testing.assert_allclose(masked.logits(z), naive.decode(codes, model.values), atol=1e-5)


def test_a_masked_item_falls_to_its_next_nearest_key():
    model = Bottleneck(
        projection=torch.ones(1, 1, 1),
        keys=torch.tensor([[[0.0], [1.0], [5.0]]]),
        values=torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 3.0]]]),
        selectable=torch.ones(1, 3, dtype=torch.bool),
        header={},
    )
    z = torch.tensor([[0.1]])
    assert model.logits(z).tolist() == [[1.0, 0.0]]
    assert model.masked(torch.tensor([[True, False, False]])).logits(z).tolist() == [[0.0, 2.0]]
    assert model.masked(torch.tensor([[True, True, False]])).logits(z).tolist() == [[0.0, 3.0]]


def test_a_codebook_without_a_key_casts_no_vote_and_the_mean_is_over_those_that_do(model, z):
    mask = torch.zeros(C, M, dtype=torch.bool)
    mask[[0, 3]] = True
    rest = [1, 2, 4]
    part = Bottleneck(model.projection[rest], model.keys[rest], model.values[rest], model.selectable[rest], {})
    assert torch.allclose(model.masked(mask).logits(z), part.logits(z), atol=1e-6)
    assert (model.masked(mask).codes(z)[:, [0, 3]] == -1).all()


def test_an_item_without_any_vote_has_uniform_logits(model, z):
    logits = model.masked(torch.ones(C, M, dtype=torch.bool)).logits(z)
    assert torch.equal(logits, torch.zeros(N, V))
    assert torch.allclose(logits.softmax(1), torch.full((N, V), 1 / V))


def test_decoding_equals_the_naive_mean_for_every_pattern_of_votes():
    patterns = torch.cartesian_prod(*[torch.tensor([-1, 1, 4])] * 3).to(torch.int16)
    values = naive.random_bottleneck(3, c=3, m=5, v=7).values
    found = decode(patterns, values)
    np.testing.assert_allclose(found, naive.decode(patterns, values), atol=1e-6)
    assert (found[(patterns < 0).all(1)] == 0).all()


def test_decoding_codes_of_other_codebooks_is_refused():
    with pytest.raises(ShapeMismatch, match="codes"):
        decode(torch.zeros(2, 3, dtype=torch.int16), torch.zeros(5, 7, 2))


# --- masking ---


def test_masking_leaves_the_original_untouched(model, z):
    before = {name: getattr(model, name).clone() for name in TENSORS}
    logits = model.logits(z)
    masked = model.masked(random_mask(3))
    for name in TENSORS:
        assert torch.equal(getattr(model, name), before[name])
    assert not torch.equal(masked.logits(z), logits)
    assert torch.equal(model.logits(z), logits)


def test_keys_are_packed_once_for_a_model_and_anew_for_one_that_is_masked(model, z, monkeypatch):
    packed, pack = [], Codebooks.of

    def counted(*parts):
        packed.append(parts)
        return pack(*parts)

    monkeypatch.setattr(Codebooks, "of", counted)
    masked = model.masked(random_mask(3))
    for _ in range(3):
        assert torch.equal(model.codes(z), encode(z, model.projection, model.keys, selectable=model.selectable))
        assert torch.equal(masked.codes(z), encode(z, masked.projection, masked.keys, selectable=masked.selectable))
    assert len(packed) == 2 + 3 + 3  # encode packs at each call


def test_the_contents_of_masked_pairs_are_erased_and_the_others_kept(model):
    mask = random_mask(3)
    masked = model.masked(mask)
    for name in ("keys", "values"):
        assert (getattr(masked, name)[mask] == 0).all()
        assert torch.equal(getattr(masked, name)[~mask], getattr(model, name)[~mask])
    assert torch.equal(masked.selectable, model.selectable & ~mask)
    assert torch.equal(masked.projection, model.projection)
    assert masked.header == model.header


def test_masking_nothing_changes_nothing(model):
    assert_same_model(model.masked(torch.zeros(C, M, dtype=torch.bool)), model)


@settings(max_examples=25, deadline=None)
@given(one=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_the_order_of_requests_does_not_matter_and_a_request_twice_is_a_request_once(one, other):
    model = naive.random_bottleneck(4, c=C, m=M, v=V)
    first, second = random_mask(one), random_mask(other)
    together = model.masked(first | second)
    assert_same_model(model.masked(first).masked(second), together)
    assert_same_model(model.masked(second).masked(first), together)
    assert_same_model(together.masked(first), together)


def test_a_mask_of_another_shape_is_refused(model):
    with pytest.raises(ShapeMismatch, match="mask"):
        model.masked(torch.zeros(M, C, dtype=torch.bool))


# --- the checkpoint ---


def written(folder: Path, data: bytes) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(data)
    return path


def test_a_checkpoint_comes_back_bit_for_bit_with_its_whole_header(model, z, tmp_path):
    model = model.masked(random_mask(7))
    path = written(tmp_path, model.to_bytes())
    back = Bottleneck.load(path)
    assert_same_model(back, model)
    assert back.header == HEADER
    assert torch.equal(back.logits(z), model.logits(z))
    assert torch.equal(Bottleneck.load(str(path)).keys, model.keys)


def test_infinities_nans_and_negative_zeros_survive_the_checkpoint(model, tmp_path):
    strange = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0, 1e-45])
    values = model.values.clone()
    values.view(-1)[:5] = strange
    back = Bottleneck.load(written(tmp_path, replace(model, values=values).to_bytes()))
    assert back.values.numpy().tobytes() == values.numpy().tobytes()


def test_a_header_with_a_format_of_its_own_comes_back_whole(model, tmp_path):
    header = {"format": "float16", "header": "x", "dkvb": [1], "__metadata__": {}}
    back = Bottleneck.load(written(tmp_path, replace(model, header=header).to_bytes()))
    assert back.header == header


def test_views_are_written_as_what_they_show(model, tmp_path):
    wide = torch.randn(M, C, V, generator=torch.Generator().manual_seed(1))
    strided = replace(model, values=wide.transpose(0, 1))
    back = Bottleneck.load(written(tmp_path, strided.to_bytes()))
    assert torch.equal(back.values, strided.values)


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    data = model.to_bytes()
    reordered = replace(model, header=dict(reversed(HEADER.items())))
    back = Bottleneck.load(written(tmp_path, data))
    for same in (model, reordered, back) * 5:
        assert same.to_bytes() == data


@settings(max_examples=40, deadline=None)
@given(sizes=st.permutations([0, 1, 3, 5]), said=st.text())
def test_a_checkpoint_is_byte_for_byte_what_safetensors_writes(sizes, said):
    model = replace(naive.random_bottleneck(1, c=sizes[0], m=sizes[1], v=sizes[2], d_k=sizes[3]), header={"x": said})
    text = {"dkvb": json.dumps({"format": FORMAT, "header": model.header}, sort_keys=True)}
    expected = save({name: getattr(model, name) for name in TENSORS}, text)
    assert model.to_bytes() == b"".join(model.parts()) == expected


def test_the_parts_of_a_checkpoint_are_the_tensors_where_they_lie(model):
    _, *parts = model.parts()
    lie = {np.frombuffer(part, np.uint8).__array_interface__["data"][0] for part in parts}
    assert lie == {getattr(model, name).data_ptr() for name in TENSORS}


def test_a_tensor_of_another_type_is_refused(model):
    with pytest.raises(BadCheckpoint, match=r"values: dtype found torch\.float64, expected torch\.float32"):
        replace(model, values=model.values.double()).to_bytes()


def test_the_header_is_read_without_the_tensors(model, tmp_path):
    assert read_header(written(tmp_path, model.to_bytes())) == HEADER


def test_the_erased_contents_are_nowhere_in_the_file(model):
    mask = torch.zeros(C, M, dtype=torch.bool)
    mask[2, 3] = True
    for name in ("keys", "values"):
        contents = getattr(model, name)[2, 3].numpy().tobytes()
        assert contents in model.to_bytes()
        assert contents not in model.masked(mask).to_bytes()


def test_any_safetensors_reader_reads_the_tensors(model):
    tensors = load(model.to_bytes())
    assert set(tensors) == set(TENSORS)
    assert torch.equal(tensors["values"], model.values)


def refused(path: Path) -> str:
    with pytest.raises(BadCheckpoint) as caught:
        Bottleneck.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_file_and_a_folder_are_no_checkpoints(tmp_path):
    refused(tmp_path / "missing.safetensors")
    refused(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, -1, -100, -2000])
def test_a_truncated_checkpoint_is_refused(model, tmp_path, kept):
    refused(written(tmp_path, model.to_bytes()[:kept]))


def test_a_checkpoint_with_something_after_its_end_is_refused(model, tmp_path):
    refused(written(tmp_path, model.to_bytes() + b"\0"))


def test_a_checkpoint_with_a_damaged_header_is_refused(model, tmp_path):
    data = bytearray(model.to_bytes())
    data[8:24] = b"\xff" * 16
    refused(written(tmp_path, bytes(data)))


@pytest.mark.parametrize("data", [b"not a checkpoint", b"PK\x03\x04" + bytes(1000), b"\x80\x02" + bytes(97)])
def test_a_foreign_file_is_refused(tmp_path, data):
    refused(written(tmp_path, data))


def test_a_safetensors_file_of_something_else_is_refused_by_its_format(model, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert FORMAT in refused(path)
    older = {key: text.replace(FORMAT, "dkvb-bottleneck/0") for key, text in metadata(model).items()}
    save_file({name: getattr(model, name) for name in TENSORS}, path, older)
    assert "dkvb-bottleneck/0" in refused(path)


@pytest.mark.parametrize("missing", TENSORS)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(model, tmp_path, missing):
    tensors = {name: getattr(model, name) for name in TENSORS if name != missing}
    refused(written(tmp_path, save(tensors, metadata(model))))


def metadata(model: Bottleneck) -> dict[str, str]:
    """What the checkpoint's header says beside the tensors, read by hand: 8 bytes of length, then JSON."""
    data = model.to_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def test_a_checkpoint_whose_header_lacks_a_part_or_is_not_json_is_refused(model, tmp_path):
    tensors, said = {name: getattr(model, name) for name in TENSORS}, metadata(model)
    assert_same_model(Bottleneck.load(written(tmp_path, save(tensors, said))), model)
    for key in said:
        refused(written(tmp_path, save(tensors, {k: text for k, text in said.items() if k != key})))
        for damaged in ("{", "", "[]", "null", "7"):
            refused(written(tmp_path, save(tensors, {**said, key: damaged})))


def test_a_checkpoint_whose_tensors_do_not_fit_is_refused(model, tmp_path):
    refused(written(tmp_path, replace(model, values=model.values[:, :-1]).to_bytes()))
