"""Membership inference with one rule for all items: can training items be told from items that were not trained on?

Each number is to be read beside the same number of an oracle, which never saw the members: forget items and test items
may differ without any training. `dkvb.ulira` has a rule for every single item.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from dkvb.errors import BadSetting, ShapeMismatch
from dkvb.roc import auc, tpr_at_fpr
from dkvb.seeds import numpy_generator, stream

Outputs = tuple[Tensor, Tensor]
"""Logits (n, v) float and labels (n,) integer of the same n items, as `membership_scores` takes them."""

LOG_FLOOR = -100.0
"""Log probabilities are clipped to this: an item whose class is ruled out has finite scores."""

FPR = 0.01
"""The false positive rate at which `population_attack` reports the true positive rate."""

FOLDS = 5
"""Parts of a cross-validation; fewer where a side has fewer items."""


class Attack(NamedTuple):
    """How well a score tells members from others."""

    auc: float
    """Below 0.5 the score leaks too: members look less like members than others do."""
    balanced_accuracy: float
    """Of a fitted classifier, which has learned the direction: 0.5 for no leak, more for one in either direction."""
    tpr: float
    """True positive rate at a false positive rate of FPR."""


def membership_scores(logits: Tensor, labels: Tensor) -> dict[str, NDArray[np.float64]]:
    """Four scores of every item, each higher the more the item looks like a training item.

    loss: log p_y, the cross-entropy turned around. confidence: p_y, whose order is that of the loss.
    entropy: sum over the classes of p log p. modified_entropy: (1 - p_y) log p_y, plus the sum over the other classes
    of p log(1 - p). All logarithms come from the log odds of each class: exact where p rounds to 0 or 1.

    logits: (n, v) float; -inf rules a class out.
    labels: (n,) integer in [0, v).
    returns: (n,) float64 under each name: nats, confidence in [0, 1]. Logarithms are clipped to LOG_FLOOR.
    raises: ShapeMismatch; BadSetting for labels outside [0, v), NaN, or an item with every class ruled out.
    source: Yeom et al., arXiv 1709.01604 (loss); Song and Mittal, arXiv 2003.10595 (the others; published code for
    the modified entropy often has log p where the definition has log(1 - p)).
    """
    _check_shapes(logits, labels)
    if ((labels < 0) | (labels >= logits.shape[1])).any():
        raise BadSetting(f"labels: found one outside [0, {logits.shape[1]}), expected a column of the logits")
    odds = _log_odds(logits.double())
    if odds.isnan().any():
        raise BadSetting("logits: found NaN, two that are inf, or an item with every class ruled out")
    p, label = odds.sigmoid(), labels.long()[:, None]
    log_p, log_not = (logsigmoid(x).clamp(min=LOG_FLOOR) for x in (odds, -odds))
    modified = (p * log_not).scatter(1, label, ((-odds).sigmoid() * log_p).gather(1, label))
    scores = {
        "loss": log_p.gather(1, label)[:, 0],
        "confidence": p.gather(1, label)[:, 0],
        "entropy": (p * log_p).sum(1),
        "modified_entropy": modified.sum(1),
    }
    return {name: score.cpu().numpy() for name, score in scores.items()}


def _check_shapes(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ShapeMismatch.between("labels (n,)", labels.shape, "logits (n, v)", logits.shape)


def _log_odds(logits: Tensor) -> Tensor:
    """Each logit minus the logsumexp of the others: (n, v), NaN where every class is ruled out."""
    ruled_out = torch.full_like(logits[:, :1], -torch.inf)
    before = torch.cat([ruled_out, logits[:, :-1]], 1).logcumsumexp(1)
    after = torch.cat([ruled_out, logits.flip(1)[:, :-1]], 1).logcumsumexp(1).flip(1)
    return logits - torch.logaddexp(before, after)


def balanced_accuracy(members: NDArray[Any], others: NDArray[Any], *, seed: int) -> float:
    """Balanced accuracy of a logistic regression on one score, on items that it was not fitted to.

    Both sides weigh the same. Averaged over FOLDS stratified parts: a constant score gives exactly 0.5.

    members, others: (n,) and (n2,) float, finite, 2 or more of each; seed: of the parts.
    returns: in [0, 1]; a leak in either direction is above 0.5.
    raises: ShapeMismatch for fewer than 2 of a side; BadSetting for scores that are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    folds = max(2, min(FOLDS, len(members), len(others)))
    parts = StratifiedKFold(folds, shuffle=True, random_state=_state(seed, "parts"))
    return _cross_validated(LogisticRegression(class_weight="balanced"), parts, members, others, standardised=True)


def population_attack(members: Outputs, others: Outputs, *, seed: int) -> dict[str, Attack]:
    """Attacks by each score of `membership_scores`, on as many members as others.

    The larger side is cut to a seeded sample as large as the other, the same for every score.

    members: outputs of one model on items it was to forget; others: on test items, of the same classes.
    seed: of the sample and of the cross-validation.
    raises: as `membership_scores` and `balanced_accuracy`.
    source: the population attacks of Hayes et al., arXiv 2403.01218.
    """
    size = min(len(members[1]), len(others[1]))
    inside, outside = _sampled(members, size, seed, "members"), _sampled(others, size, seed, "others")
    attacks = {}
    for name in inside:
        scores = inside[name], outside[name]
        attacks[name] = Attack(auc(*scores), balanced_accuracy(*scores, seed=seed), tpr_at_fpr(*scores, fpr=FPR))
    return attacks


def entropy_attack(members: Tensor, others: Tensor, *, seed: int) -> Attack:
    """The population attack by entropy alone, which needs no label: also where the items' own class is left out.

    members: (n, v) float, logits of one model on items it was to forget; others: (n2, v), on test items.
    seed, raises: as of `population_attack`.
    """
    size = min(len(members), len(others))
    inside, outside = (
        _sampled((logits, torch.zeros(len(logits), dtype=torch.int64)), size, seed, side)["entropy"]
        for logits, side in ((members, "members"), (others, "others"))
    )
    return Attack(
        auc(inside, outside), balanced_accuracy(inside, outside, seed=seed), tpr_at_fpr(inside, outside, fpr=FPR)
    )


def loss_logistic_attack(forget: Outputs, test: Outputs, *, seed: int) -> float:
    """The attack of SCRUB's public code: a logistic regression on the loss, forget items against test items.

    The sides are cut to equal size, the losses clipped to 100 nats; 5 random splits hold out a tenth of each side.
    SCRUB takes the test items of the forget classes; code derived from it often the whole test set, which tells
    classes apart where no membership is to be found: say which beside the number.

    forget, test: outputs of one model, 2 or more items of each; seed: of the samples and the splits.
    returns: mean accuracy on held-out items, in [0, 1]; 0.5 for no leak, more for one in either direction.
    raises: as `membership_scores` and `balanced_accuracy`.
    source: Kurmanji et al., arXiv 2302.09880, and its repository meghdadk/SCRUB (MIA_experiments).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    size = min(len(forget[1]), len(test[1]))
    members, others = _sampled(forget, size, seed, "forget"), _sampled(test, size, seed, "test")
    # As many of one side as of the other: an odd number would hold a constant loss below 0.5.
    splits = StratifiedShuffleSplit(5, test_size=max(2, 2 * -(-size // 10)), random_state=_state(seed, "splits"))
    return _cross_validated(LogisticRegression(), splits, members["loss"], others["loss"])


def svc_confidence_attack(retain: Outputs, test: Outputs, forget: Outputs) -> float:
    """The attack of Unlearn-Sparse's and SalUn's public code: an SVC on the confidence, applied to the forget items.

    An SVC (radial kernel, C 3, gamma 1) learns to tell p_y of retain items, members, from p_y of test items, and then
    says of each forget item whether it is a member. Their tables ("MIA", forget efficacy) print 1 minus this share.
    It has no value that means no leak: a forgotten item can look like neither side. Read it beside an oracle's.

    retain, test: outputs of one model, in random order: as in the public code, the longer one is cut to the length of
    the other. The time grows with the square of their number: 2000 of each take seconds.
    forget: outputs of that model on the items to forget.
    returns: share of the forget items said to be members, in [0, 1].
    raises: as `membership_scores`; ShapeMismatch where a kind has no items.
    source: Jia et al., arXiv 2304.04934 (appendix C.3), Fan et al., arXiv 2310.12508, and their repositories.
    """
    from sklearn.svm import SVC

    counts = [len(labels) for _, labels in (retain, test, forget)]
    if not all(counts):
        raise ShapeMismatch(f"retain, test and forget: found {counts} items, expected one or more of each")
    size = min(counts[:2])
    members, others, unknown = (membership_scores(*kind)["confidence"][:, None] for kind in (retain, test, forget))
    classifier = SVC(C=3, gamma=1, kernel="rbf").fit(np.r_[members[:size], others[:size]], np.repeat([1, 0], size))
    return float(classifier.predict(unknown).mean())


def _sampled(outputs: Outputs, size: int, seed: int, side: str) -> dict[str, NDArray[np.float64]]:
    """The scores of a sample without replacement."""
    logits, labels = outputs
    _check_shapes(logits, labels)
    raw = numpy_generator(seed, "membership", side).random_raw(len(labels))
    kept = torch.from_numpy(np.argsort(raw, kind="stable")[:size]).to(labels.device)
    return membership_scores(logits[kept], labels[kept])


def _state(seed: int, purpose: str) -> int:
    """A seed as scikit-learn takes it: 32 bits."""
    return stream(seed, "membership", purpose) % 2**32


def _cross_validated(
    classifier: Any, splits: Any, members: NDArray[Any], others: NDArray[Any], *, standardised: bool = False
) -> float:
    """Mean over the splits of the mean of both sides' accuracies."""
    from sklearn import config_context

    counts = [len(members), len(others)]
    if min(counts) < 2:
        raise ShapeMismatch(f"members and others: found {counts} items, expected 2 or more of each, to fit and to test")
    scores = np.concatenate([members, others])[:, None]
    if not np.isfinite(scores).all():
        raise BadSetting("members and others: found a score that is not finite; clip it, as membership_scores does")
    if standardised:
        scores = (scores - scores.mean()) / (scores.std() or 1)  # of both sides together: no label is seen
    is_member = np.repeat([1, 0], counts)
    accuracies = []
    with config_context(skip_parameter_validation=True, assume_finite=True):
        for fitted, held in splits.split(scores, is_member):  # as cross_val_score does, in a tenth of its time
            right = classifier.fit(scores[fitted], is_member[fitted]).predict(scores[held]) == is_member[held]
            accuracies.append(np.mean([right[is_member[held] == side].mean() for side in (0, 1)]))
    return float(np.mean(accuracies))
