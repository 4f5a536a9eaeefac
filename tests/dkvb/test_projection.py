"""Random projections."""

import numpy as np
import pytest
import torch

from dkvb.projection import project, project_each, random_projection
from tests.dkvb.naive import f64, random_items
from tests.dkvb.threads import threads


def test_every_column_has_unit_length_over_the_embedding_width():
    projection = random_projection(range(3), 17, 5, seed=2)
    assert projection.shape == (3, 17, 5)
    assert projection.dtype == torch.float32
    assert torch.allclose(projection.square().sum(1), torch.ones(3, 5), atol=1e-6)


def test_columns_are_drawn_from_the_standard_normal_before_scaling():
    # Directions of standard normal vectors are uniform on the sphere: mean 0, covariance 1 / d_z.
    d_z = 11
    columns = random_projection(range(13), d_z, 997, seed=2).permute(0, 2, 1).reshape(-1, d_z)
    assert columns.mean(0).abs().max() < 0.02
    assert torch.allclose(columns.T @ columns / len(columns), torch.eye(d_z) / d_z, atol=0.01)
    kurtosis = (columns**4).mean() / (columns**2).mean() ** 2
    assert abs(kurtosis.item() - 3 * d_z / (d_z + 2)) < 0.05


def test_some_codebooks_equal_that_part_of_all_codebooks():
    everything = random_projection(range(7), 11, 5, seed=3)
    assert torch.equal(random_projection([5, 2], 11, 5, seed=3), everything[[5, 2]])


def test_codebooks_and_seeds_look_in_different_directions():
    one, other = random_projection(range(2), 11, 5, seed=3)
    assert not torch.equal(one, other)
    assert not torch.equal(one, random_projection([0], 11, 5, seed=4)[0])


@pytest.mark.parametrize("n", [0, 1, 4099])
def test_projecting_equals_the_plain_product_on_any_number_of_items(n):
    z, directions = random_items(4, n), random_projection([1], 7, 5, seed=4)[0]
    found = project(z, directions)
    assert found.shape == (n, 5)
    np.testing.assert_allclose(found, f64(z) @ f64(directions), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_projected_in_single_precision(dtype):
    z, directions = random_items(4, 13).to(dtype), random_projection([1], 7, 5, seed=4)[0]
    found = project(z, directions)
    assert found.dtype == torch.float32
    assert torch.equal(found, project(z.float(), directions))


@pytest.mark.parametrize("d_k", [1, 14, 19, 37])
def test_a_row_does_not_depend_on_the_rows_beside_it_nor_on_blocks_and_threads(monkeypatch, d_k):
    z, directions = random_items(5, 101, d_z=23), random_projection([1], 23, d_k, seed=4)[0]
    whole = project(z, directions)
    np.testing.assert_allclose(whole, f64(z) @ f64(directions), atol=1e-5)
    assert torch.equal(torch.cat([project(item, directions) for item in z.split(1)]), whole)
    monkeypatch.setattr("dkvb.projection.BLOCK", 7)
    for count in (1, 2):
        with threads(count):
            assert torch.equal(project(z, directions), whole)
            assert torch.equal(project(z.flip(0), directions).flip(0), whole)


def test_a_direction_is_looked_along_alike_beside_any_others():
    z, directions = random_items(6, 37, d_z=23), random_projection([1], 23, 37, seed=4)[0]
    whole = project(z, directions)
    for some in ([0], [36, 17, 2], [*range(5, 31)]):
        assert torch.equal(project(z, directions[:, some]), whole[:, some])


@pytest.mark.parametrize("n", [1, 40, 2500])
def test_projecting_into_some_codebooks_together_is_projecting_into_each(n):
    z, projection = random_items(1, n, d_z=37).half(), random_projection(range(5), 37, 18, seed=2)
    together = project_each(z, projection)
    assert together.shape == (5, n, 18)
    for j, directions in enumerate(projection):
        assert torch.equal(together[j], project(z, directions))
        torch.testing.assert_close(together[j], z.float() @ directions, atol=1e-5, rtol=1e-5)
