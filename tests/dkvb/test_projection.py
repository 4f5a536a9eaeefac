"""Random projections."""

import numpy as np
import pytest
import torch

from dkvb.projection import project, random_projection
from tests.dkvb.naive import f64, random_items


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
