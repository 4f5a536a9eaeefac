"""The trivial controls: what they take away, and what they leave."""

import pytest
import torch

from dkvb import controls
from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.linear import EmbeddingFeatures
from dkvb.training import Features
from dkvb.values import CodeFeatures

C, M, V, N = 3, 7, 5, 149


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FEATURES: dict[str, Features] = {
    "linear": EmbeddingFeatures.of(torch.randn(N, 11, generator=gen(1))),
    "values": CodeFeatures.of(torch.randint(M, (N, C), generator=gen(1)), M),
}


@pytest.mark.parametrize("head", FEATURES)
def test_without_its_column_a_class_has_a_logit_of_zero_and_without_its_logit_none(head):
    features = FEATURES[head]
    weights = torch.randn(features.weights(V).shape, generator=gen(3))
    before = weights.clone()
    logits = features.forward(weights)
    kept, others = logits.clone(), [0, 2, 3]
    zero = features.forward(controls.without_column(weights, [1, 4]))
    gone = controls.without_logit(logits, [1, 4])
    assert (zero[:, [1, 4]] == 0).all()
    assert (gone[:, [1, 4]] == -torch.inf).all()
    assert torch.equal(gone[:, others], logits[:, others])
    assert torch.allclose(zero[:, others], logits[:, others], atol=1e-6)
    assert torch.equal(weights, before)
    assert torch.equal(logits, kept)


def test_a_random_mask_has_as_many_pairs_in_each_codebook_among_those_that_may_be_drawn():
    like = torch.rand(C, 53, generator=gen(1)) < torch.tensor([[0.0], [0.1], [0.4]])
    drawn = torch.zeros(C, 53)
    for seed in range(200):
        mask = controls.random_mask(like, ~like, seed=seed)
        assert mask.dtype == torch.bool
        assert torch.equal(mask.sum(1), like.sum(1))
        assert not (mask & like).any()
        assert torch.equal(mask, controls.random_mask(like, ~like, seed=seed))
        drawn += mask
    share = like.sum(1, keepdim=True) / (~like).sum(1, keepdim=True)
    expected = torch.where(like, 0.0, 200 * share.expand(like.shape))
    assert ((drawn - expected).abs() <= 5 * (200 * share * (1 - share)).sqrt()).all()
    assert torch.equal(controls.random_mask(like, like, seed=1), like)  # all that may be drawn
    anywhere = controls.random_mask(like, torch.ones_like(like), seed=1)
    assert torch.equal(anywhere.sum(1), like.sum(1))
    assert (anywhere & like).any()


def test_a_random_mask_of_more_pairs_than_may_be_drawn_is_refused():
    like = torch.ones(C, M, dtype=torch.bool)
    among = like.clone()
    among[1, 3] = among[2, 4] = False
    with pytest.raises(BadSetting, match="too few pairs in 2 codebooks"):
        controls.random_mask(like, among, seed=1)
    with pytest.raises(ShapeMismatch, match="among"):
        controls.random_mask(like, among[:, :-1], seed=1)
