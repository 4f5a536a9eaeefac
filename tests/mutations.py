"""Whether the laws of the comparison notice a wrong line: `python -m tests.mutations [--jobs N] [FIRST [LAST]]`.

Every mutation is made in a temporary copy of the repository, on which the tests of the mutated files run until one
fails. Prints which were killed and by what; exits with 1 where one survived.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.paths import REPOSITORY

COPIED = ("cluster", "dkvb", "jobs", "store", "tests", "pyproject.toml")
LIMIT_S = 120
QUIETLY = ("-p", "no:cacheprovider", "-W", "ignore:Module already imported")


class Mutation(NamedTuple):
    """One line of the repository, and what stands in its place."""

    file: str
    old: str
    new: str


WRONG = """
jobs/comparison/heads.py
- return {split: inputs.labels(task, split) >= 0 for split in SPLITS}
+ return {split: inputs.labels(task, split) > 0 for split in SPLITS}
- return self.c
+ return self.m
- features, labels = self.features["train"], self.labels["train"]
+ features, labels = self.features["test"], self.labels["test"]
- fetched = table[torch.where(features.codes < 0, len(weights), features.pairs)]
+ fetched = table[torch.where(features.codes <= 0, len(weights), features.pairs)]

jobs/comparison/methods.py
- rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] != forget]
+ rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] == forget]
- scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).mean(0)
+ scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).max(0)
- return Trial(best, best in (0, len(scores) - 1) and len(scores) > 1)
+ return Trial(best, best in (0, len(scores)) and len(scores) > 1)

jobs/comparison/judge.py
- return accuracies(predicted, among, self.labels, self.forget, retain=self.retain)
+ return accuracies(among, predicted, self.labels, self.forget, retain=self.retain)
- by_class(self.before, self.labels["test"]), by_class(model, self.labels["test"]), forget=self.classes
+ by_class(model, self.labels["test"]), by_class(self.before, self.labels["test"]), forget=self.classes
- worst_neighbour=None if worst < 0 else worst,
+ worst_neighbour=None if worst <= 0 else worst,
- retain_before=before.test_retain, retain_after=reached.test_retain, forget_after=reached.test_forget
+ retain_before=reached.test_retain, retain_after=reached.test_retain, forget_after=reached.test_forget
- tow_kv=None if never is None else reached.tow(never),
+ tow_kv=None if never is None else reached.tow(oracle),
- return OracleGap(v, kv, self.divergence(self.oracle, self.never))
+ return OracleGap(v, kv, self.divergence(self.before, self.never))
- out = torch.from_numpy(self.forget["train"])
+ out = torch.from_numpy(~self.forget["train"])
- return (torch.bincount(labels, weights=right, minlength=v) / sizes).numpy()
+ return (torch.bincount(labels, weights=right, minlength=v) / len(labels)).numpy()

jobs/comparison/masks.py
- chosen[kept] = wanted
+ chosen[: len(wanted)] = wanted
- kind[split] = torch.cat([part[which] for part in parts], dim=2)[:, :, kept[split]].numpy()
+ kind[split] = torch.cat([part[0] for part in parts], dim=2)[:, :, kept[split]].numpy()
- table = budget_table([np.where(mask, 0, 1) for mask in masks], [[1]] * len(masks))
+ table = budget_table([np.where(mask, 1, 0) for mask in masks], [[1]] * len(masks))
- return self.grid[best_model(forget, retain)]
+ return self.grid[best_model(retain, forget)]

jobs/comparison/accuracies.py
- kept = ~out if retain is None else retain[split]
+ kept = ~out
- shares[f"{split}_retain_among_retain"] = _share(right_among[kept])
+ shares[f"{split}_retain_among_retain"] = _share(right[kept])

jobs/comparison/attacks.py
- goal = RECOVERED * metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.labels)
+ goal = metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.labels)
- members, others = (outputs(judge, model, split, judge.forget[split]) for split in SPLITS)
+ members, others = (outputs(judge, model, split, judge.forget[split]) for split in SPLITS[::-1])
- rows += [Attacked(model.head.name, model.method, *key, scores[key], oracle.get(key)) for key in scores]
+ rows += [Attacked(model.head.name, model.method, *key, scores[key], scores.get(key)) for key in scores]
- outputs(judge, model, split, some(~judge.forget[split], len(others[1]), seed, f"svc {split}"))
+ outputs(judge, model, split, some(judge.forget[split], len(others[1]), seed, f"svc {split}"))
- return model.logits[split][rows].clamp(min=LOWEST), judge.labels[split][rows]
+ return model.logits[split][rows], judge.labels[split][rows]
- for split, size in (("train", ITEMS), ("test", ITEMS // 2)):
+ for split, size in (("train", ITEMS), ("test", ITEMS)):
- sides = (some(side, size, seed, f"probe {split}") for side in (of_class[split], ~of_class[split]))
+ sides = (some(side, size, seed, f"probe {split}") for side in (of_class[split], of_class[split]))
- learnt = model.features["train"].take(probed.shots[:shots])
+ learnt = model.features["train"].take(probed.shots)
- if metrics.accuracy(logits[len(rows) :].argmax(1), probed.labels) >= goal:
+ if metrics.accuracy(logits[len(rows) :].argmax(1), probed.labels) > goal:
- descent.step(rows, cross_entropy_error(logits[: len(rows)], labels) / len(rows))
+ descent.step(rows, cross_entropy_error(logits[: len(rows)], labels))

jobs/comparison/masked_class.py
- return Budgeted(order, sorted({0, *budgets}))
+ return Budgeted(order, sorted({*budgets}))
- regret=metrics.regret(tows[best], tows[g]),
+ regret=metrics.regret(tows[g], tows[best]),
- goal = RECOVERED * judge.accuracies(judge.before.logits).test_forget
+ goal = RECOVERED * judge.accuracies(judge.before.logits).train_forget
- last = np.where(mask, total - 1 - np.minimum(first.position, total - 1), NEVER)
+ last = np.where(mask, np.minimum(first.position, total - 1), NEVER)
- back = (predicted[0] == self.k).double().mean(1) >= goal
+ back = (predicted[0] == self.k).double().mean(1) > goal
- share = (total - left) / max(1, total)
+ share = left / max(1, total)
- return torch.from_numpy(np.where(gone, np.int16(NO_VOTE), codes.numpy()))
+ return torch.from_numpy(np.where(gone, codes.numpy(), np.int16(NO_VOTE)))

jobs/steps/compare.py
- others=self.shared.total - self.hits,
+ others=self.shared.total,
- errors = [1 - metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]
+ errors = [metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]

jobs/steps/scope.py
- stay = {"train": ~train, "test": ~gone}  # what a proxy was counted on is neither
+ stay = {"train": ~train, "test": ~like}  # what a proxy was counted on is neither
- key = head.name, rows.numpy().tobytes()
+ key = "", rows.numpy().tobytes()
- there = torch.from_numpy(np.flatnonzero(~np.isin(task.labels.numpy(), list(earlier))))
+ there = torch.from_numpy(np.flatnonzero(np.isin(task.labels.numpy(), list(earlier))))
- reached = predictions.accuracies(0, len(budgeted.grid), self.labels, judge.forget)
+ reached = predictions.accuracies(0, len(budgeted.grid), self.labels, judge.retain)
- wanted = wanted[::-1] if direction == "backward" else wanted
+ wanted = wanted[::-1] if direction == "forward" else wanted
- recounted |= shared.rule(shared.hits(codes[rows]))
+ recounted |= shared.rule(hits)
- scrub = shared.scrubbed(head, rows, weights=weights, earlier=wanted[:i])
+ scrub = shared.scrubbed(head, rows, weights=weights, earlier=wanted[: i + 1])
- count = max(2, round(share * len(items)))
+ count = max(1, round(share * len(items)))
- yield Proxy(k, shared.values.codes["test"][torch.from_numpy(half) & (labels == k)], ~half)
+ yield Proxy(k, shared.values.codes["test"][torch.from_numpy(half) & (labels == k)], half)
- forget = sorted(shared.order[: int(size)])
+ forget = sorted(shared.order[: int(size) + 1])

dkvb/baselines.py
- batches = -(-retain // self.batch)
+ batches = retain // self.batch
- passes = item * (epochs * retain + min(epochs, self.max_epochs) * forget)
+ passes = item * (epochs * retain + max(epochs, self.max_epochs) * forget)

jobs/steps/costs.py
- return whole / part if part else None
+ return part / whole if part else None
- n_r = n - n_f
+ n_r = n
- "flops_uncached": counted and counted.total + cost.images * pass_of_image,
+ "flops_uncached": counted and counted.total + cost.images * image["linear"],
- "retrain_ratio": took[cost.head, retrain].median / taken.median,
+ "retrain_ratio": linear.median / taken.median,

jobs/steps/lira.py
- learns = torch.cat([torch.full((len(out), count), kind == "none"), halves])
+ learns = torch.cat([torch.full((len(out), count), kind == "retrain"), halves])

jobs/comparison/halves.py
- return rows[of_class], rows[~of_class]
+ return rows[~of_class], rows[of_class]
- chosen_rows[drawn(n, n // 2, seed, "lira half", k, head)] = True
+ chosen_rows[drawn(n, (n + 1) // 2, seed, "lira half", k, head)] = True
- one, other = oracle[0::2], oracle[1::2]
+ one, other = oracle[0::2], oracle[0::2]
- "klom": float(metrics.klom(unlearned, oracle).mean()),
+ "klom": float(metrics.klom(oracle, unlearned).mean()),

jobs/comparison/file_attacks.py
- weights[:, k] -= weights.sum(1)
+ weights[:, k] += weights.sum(1)
- return torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
+ return logits
- gone = mask[np.arange(mask.shape[0]), np.maximum(chosen, 0)] & (chosen >= 0)
+ gone = mask[np.arange(mask.shape[0]), np.maximum(chosen, 0)]

jobs/comparison/solved.py
- return self.weights(self.sums - self.sums_of(rows))
+ return self.weights(self.sums)

jobs/comparison/held_out.py
- kept = ~chooses
+ kept = chooses

jobs/comparison/beside.py
- on_test = [(each.test_forget, each.test_retain) for each in (reached, oracle)]
+ on_test = [(each.train_forget, each.test_retain) for each in (reached, oracle)]

jobs/steps/solved.py
- features = shared.under((selectable & ~used).numpy(), head.m)
+ features = shared.under((selectable & ~hit).numpy(), head.m)
- never = others[half(len(others), asks.seed, k, heads + i)]
+ never = others[half(len(others), asks.seed, k, i)]

jobs/steps/oracles.py
- z_init = z["train"][retain]
+ z_init = z["train"]
- k = wanted[int(unit)]
+ k = int(unit)

jobs/steps/tuning.py
- request = head.forget_task((head.labels["train"] == int(k)).nonzero().flatten())
+ request = head.forget_task((head.labels["train"] != int(k)).nonzero().flatten())
"""


def mutations() -> Iterator[Mutation]:
    """In the order of the text."""
    file = old = ""
    for line in filter(None, WRONG.splitlines()):
        if line.startswith("- "):
            old = line[2:]
        elif line.startswith("+ "):
            yield Mutation(file, old, line[2:])
        else:
            file = line


MUTATIONS = tuple(mutations())
TESTS = {file: str(Path("tests", file).with_name(f"test_{Path(file).name}")) for file, _, _ in MUTATIONS}
"""Mutated file -> its tests."""


def mutated(text: str, one: Mutation) -> str:
    """The file with the new line, indented as the old; raises ValueError unless that is there exactly once."""
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.strip() == one.old]
    if len(places) != 1 or one.old == one.new:
        raise ValueError(f"{one.file}: found {len(places)} lines, expected one and another in its place: {one.old}")
    lines[places[0]] = lines[places[0]].replace(one.old, one.new)
    return "".join(lines)


def tried(one: Mutation | None) -> tuple[Mutation | None, int, str]:
    """Run the tests on a copy with the mutation; pytest's exit code, and the first test that failed."""
    import pytest

    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        files = list(TESTS.values())
        if one is not None:
            (copy / one.file).write_text(mutated((copy / one.file).read_text(), one))
            files.sort(key=lambda name: name != TESTS[one.file])
        os.chdir(copy)
        sys.path[:] = [folder, *(entry for entry in sys.path if Path(entry or ".").resolve() != REPOSITORY)]
        for package in ("dkvb", "store"):  # loaded in part: the rest of them is the copy's
            sys.modules[package].__path__ = [str(copy / package)]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = int(pytest.main(["-x", "-q", "--tb=no", *QUIETLY, f"--timeout={LIMIT_S}", *files]))
        imported = Path(sys.modules["jobs"].__file__ or "")
        os.chdir(REPOSITORY)
        if not imported.is_relative_to(copy.resolve()):
            raise RuntimeError(f"{imported}: the tests ran on another copy than {copy}")
    failed = [line for line in out.getvalue().splitlines() if line.startswith(("FAILED", "ERROR"))]
    return one, code, failed[0].partition(" - ")[0].rpartition("::")[2] if failed else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int, nargs="?", default=1)
    parser.add_argument("last", type=int, nargs="?", default=len(MUTATIONS))
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    for one in MUTATIONS:
        mutated((REPOSITORY / one.file).read_text(), one)
    # Loaded once and inherited by every child; nothing that is mutated is among it.
    import sklearn.linear_model
    import sklearn.svm  # noqa: F401
    import torch

    import dkvb.backbones
    import dkvb.sweep  # noqa: F401
    import store.arrays
    import store.tables  # noqa: F401

    torch.set_num_threads(1)
    assert not {"jobs", *(one.file.removesuffix(".py").replace("/", ".") for one in MUTATIONS)} & {*sys.modules}
    wanted = MUTATIONS[asked.first - 1 : asked.last]
    killed = 0
    with multiprocessing.get_context("fork").Pool(asked.jobs, maxtasksperchild=1) as pool:
        _, code, failed = pool.apply(tried, (None,))
        if code:
            print(f"without any mutation the tests fail: {failed}")
            return 2
        for number, (mutation, code, failed) in enumerate(pool.imap(tried, wanted), asked.first):
            assert mutation is not None
            ended = {0: "survived", 1: "killed"}.get(code, f"exit {code}")  # a tree without tests is no kill
            killed += code == 1
            print(
                f"{number:2} {ended:8} {mutation.file}: {mutation.new}" + (f"  ({failed})" if failed else ""),
                flush=True,
            )
    print(f"{killed} of {len(wanted)} killed")
    return int(killed < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
