"""Linear probes: what a linear classifier can still read of the forget class from a layer of the model."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.seeds import stream

Features: TypeAlias = NDArray[Any] | sparse.csr_array
"""Features of items: (n, d) float, dense or sparse."""

ITERATIONS = 300
"""Most iterations of the solver; it needs about ten."""


def probe(
    train_features: Features,
    train_is_forget: NDArray[np.bool_],
    test_features: Features,
    test_is_forget: NDArray[np.bool_],
    *,
    seed: int,
) -> float:
    """Balanced accuracy of a linear probe for the forget class against the rest.

    The probe is a logistic regression in which both kinds weigh the same. Dense features are standardised by the
    training items. Sparse ones are not: centring would fill them in, and scaling would make codes of a single item the
    loudest. The penalty is |w|^2 / 2 times the mean squared length of a training item, so that it means the same for
    any width and unit: without it, 256 codes of 10,000 items are learned by heart and the rarer kind is hardly ever
    named. The solver is L-BFGS: on 10,000 items of 2560 features it took 0.4 s on one core, and ridge regression, for
    an equal score, 2 s.

    train_features, test_features: (n, d) and (n2, d) float, taken as float32: embeddings, fetched values, logits,
    `one_hot` of codes.
    train_is_forget, test_is_forget: (n,) and (n2,) bool, the items of the forget class; some, but not all.
    seed: of the solver; L-BFGS draws nothing, so every seed gives the same.
    returns: mean of the probe's accuracies on both kinds of test items, in [0, 1]; 0.5 where it can read nothing.
    raises: ShapeMismatch; BadSetting for features that are not finite or a kind without items.
    source: Alain and Bengio, arXiv 1610.01644.
    """
    from sklearn.linear_model import LogisticRegression

    _check("train", train_features, train_is_forget, width=train_features.shape[-1])
    _check("test", test_features, test_is_forget, width=train_features.shape[-1])
    x, y = _standardised(train_features, test_features)
    squares = x.multiply(x).sum() if sparse.issparse(x) else np.einsum("ij,ij->", x, x, dtype=np.float64)
    penalty = float(squares) / x.shape[0] or 1.0
    classifier = LogisticRegression(
        C=1 / penalty, class_weight="balanced", max_iter=ITERATIONS, random_state=stream(seed, "probe") % 2**32
    )
    predicted = classifier.fit(x, train_is_forget).predict(y)
    return float(np.mean([(predicted[test_is_forget == kind] == kind).mean() for kind in (False, True)]))


def one_hot(codes: NDArray[Any], m: int) -> sparse.csr_array:
    """Codes as features: one column for every pair, 1 where the item selects it.

    codes: (n, c) integer in [0, m), the key of each codebook; negative for none.
    m: pairs per codebook.
    returns: (n, c * m) float32, sparse, column = codebook * m + code.
    raises: ShapeMismatch; BadSetting for a code of m or more.
    """
    if codes.ndim != 2:
        raise ShapeMismatch(f"codes: found shape {codes.shape}, expected (n, c)")
    n, c = codes.shape
    if codes.size and codes.max() >= m:
        raise BadSetting(f"codes: found {codes.max()}, expected less than m, {m}")
    voted = codes >= 0
    columns = (codes + np.arange(c, dtype=np.int64) * m)[voted]
    starts = np.concatenate([[0], np.cumsum(voted.sum(1))])
    return sparse.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(n, c * m))


def _check(name: str, features: Any, is_forget: NDArray[np.bool_], *, width: int) -> None:
    if features.ndim != 2 or features.shape[1] != width:
        raise ShapeMismatch(f"{name} features: found shape {features.shape}, expected (n, {width}), as train has them")
    if is_forget.shape != features.shape[:1] or is_forget.dtype != np.bool_:
        raise ShapeMismatch(
            f"{name} is_forget: found {is_forget.dtype} of shape {is_forget.shape}, expected bool, one for each of"
            f" {features.shape[0]} items"
        )
    if is_forget.all() or not is_forget.any():
        raise BadSetting(
            f"{name} is_forget: found items of one kind only, expected some of the forget class and others"
        )
    if not np.isfinite(features.data if sparse.issparse(features) else features).all():
        raise BadSetting(f"{name} features: found one that is not finite; leave out a column that is ruled out")


def _standardised(train: Any, test: Any) -> tuple[Any, Any]:
    """Both features in float32; dense ones are centred and scaled by the columns of the training items."""
    if sparse.issparse(train) or sparse.issparse(test):
        return sparse.csr_array(train, dtype=np.float32), sparse.csr_array(test, dtype=np.float32)
    mean, spread = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    spread[spread <= 1e-6 * np.abs(mean)] = np.inf  # what rounding leaves of equal numbers
    scaled = [features.astype(np.float32) for features in (train, test)]
    for features in scaled:
        features -= mean
        features /= spread
    return scaled[0], scaled[1]
