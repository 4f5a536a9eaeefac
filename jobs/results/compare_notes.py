"""What the columns of the tables of the comparison mean, for people."""

from jobs.results.experiment import Experiment
from jobs.results.formats import Sentence
from store.artefacts import as_written


def few_seeds(experiment: Experiment) -> str:
    """What the intervals over the classes and seeds of an experiment are worth."""
    with as_written(experiment.path):
        compared, swept = experiment.spec["compare"], experiment.spec["sweep"]
        seeds, named = len(compared["seeds"]), compared.get("classes") or swept.get("classes")
    return worth(len(experiment.classes if named is None else named), seeds)


def worth(classes: int, seeds: int) -> str:
    """What intervals over so many classes and seeds are worth."""
    alone = classes == 1
    if alone and seeds == 1:
        return "One class on one seed has no 95 % interval, and is told from nothing."
    if alone:
        return "95 % intervals resample the seeds of one class: other classes are not in them."
    if seeds == 1:
        return "95 % intervals resample the classes of one seed: other seeds are not in them."
    text = "95 % intervals resample classes and seeds, crossed"
    if seeds > ENOUGH:
        return f"{text}."
    return f"{text}; {f'with {seeds} seeds they are too narrow: ' if seeds != 3 else ''}with 3 they cover 85 to 92 %."


ENOUGH = 5
"""Most seeds of which a reader has to be told that they are few."""

WORDS = (
    "train, test: what is still right of the forgotten class. others: test accuracy on all other classes. Changes are "
    "in points."
)
AMONG: Sentence = (
    "among themselves: where the forgotten class is not a possible answer.",
    ("among retain", "test_retain_among_retain", "train_retain_among_retain"),
)


def notes(experiment: Experiment) -> dict[str, tuple[Sentence, ...]]:
    """Below a table, for people: what its columns mean."""
    if (compared := experiment.spec.get("compare")) is None:
        return {}
    few = few_seeds(experiment)
    with as_written(experiment.path):
        solved = any(head.endswith("-lda") for head in compared.get("heads") or ())
    return {
        "compare": (
            WORDS,
            ("runs: a class and a seed each.", ("runs",)),
            (
                "± 95 %: of the mean over classes like these (Student's t, seeds averaged).",
                ("retain change ± 95 % over classes",),
            ),
            ("ToW: nearness to the head of the same kind that never saw the class; 1: the same accuracies.", ("ToW",)),
            few,
            (
                "among the best: the mean ToW is not told from the best of the head, paired by class and seed.",
                ("behind", "at least", "best"),
            ),
            AMONG,
            (
                "Masks have tried every N of their grid on the class's training items, but for uva by tau: read what "
                "was chosen by the same side by side.",
                ("chosen by",),
            ),
            ("KV: to the oracle whose keys never saw the class either.", ("ToW to KV",)),
            ("on test: of test items alone.", ("ToW on test",)),
            ("JS: distance of its answers from the oracle's (docs/format.md).", ("JS",)),
            ("ECE: calibration on the other classes' test items.", ("ECE",)),
            (
                "membership AUC: loss of all training items against all test items; that of none is what the head "
                "leaks before anything is forgotten.",
                ("membership AUC",),
            ),
            "Classes that a model never knew are left out.",
            *(
                ["exact: the class leaves the sums. uve all: all its pairs are masked, which solved values survive."]
                if solved
                else []
            ),
        ),
        "oracle_gap": (
            WORDS,
            "oracle V: trained without the class on the same keys; oracle KV: with keys that never saw it either.",
        ),
        "attacks": (
            "after: on the model that has forgotten; oracle's: on the head that was trained without the class. What "
            "counts is the difference, with its interval, paired by class and seed. runs: a class and a seed each; one "
            "alone has no interval.",
            few,
        ),
        "metrics": (
            "oracle's: of the head that was trained without the class. runs: a class and a seed each; one alone has no "
            "interval.",
            few,
        ),
        "costs": (
            "seconds: of one request, median of warm runs; seconds to retrain: of the same head, or of "
            "solving for it from new sums. uva takes N by a rule, uve all examples; those by sweep choose N on the "
            "class's training items, and that time is counted. Tuning of baselines on other classes comes before a "
            "request, and is not counted.",
        ),
        "selection": (
            WORDS,
            "weight, tau: the rule takes pairs by hits of the class less weight times hits of the others, up to the "
            "share tau of its activations. regret: the best ToW of any N, less that of the rule's N.",
        ),
        "scope": (
            WORDS,
            AMONG,
            "Instances are stopped where AUS is best, which drives the forgotten items towards 0, where the oracle "
            "still knows many of them: no claim on instances can be read off these rows. Those to held-out are "
            "stopped where the accuracy on forgotten items meets that on half of the class's test items, which are "
            "in none of their figures.",
        ),
    }
