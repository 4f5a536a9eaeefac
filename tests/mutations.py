"""Whether the laws of the comparison notice a wrong line: `python -m tests.mutations [--jobs N] [FIRST [LAST]]`.

Every mutation is made in a temporary copy of the repository, on which the tests of `tests/jobs/comparison` run until
one fails. Prints which were killed and by what; exits with 1 where one survived.
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

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("cluster", "dkvb", "jobs", "store", "tests", "pyproject.toml")
TESTS = Path("tests/jobs/comparison")
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
- return Head(name, features, labels, bottleneck.values.reshape(c * m, v), settings, c)
+ return Head(name, features, labels, bottleneck.values.reshape(c * m, v), settings, m)
- rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] != forget]
+ rows = [m for m in marks.values() if (m["head"], m["method"]) == (head, method) and m["class"] == forget]
- scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).mean(0)
+ scores = np.array([[trial["score"] for trial in row["trials"]] for row in rows]).max(0)
- return best, best in (0, len(scores) - 1) and len(scores) > 1
+ return best, best in (0, len(scores)) and len(scores) > 1
- features, labels = head.features["train"], head.labels["train"]
+ features, labels = head.features["test"], head.labels["test"]

jobs/comparison/judge.py
- return accuracies(predicted, among, self.labels, self.forget, self.retain)
+ return accuracies(among, predicted, self.labels, self.forget, self.retain)
- by_class(self.before, self.labels["test"]), by_class(one, self.labels["test"]), forget=self.classes
+ by_class(one, self.labels["test"]), by_class(self.before, self.labels["test"]), forget=self.classes
- "worst_neighbour": None if worst < 0 else worst,
+ "worst_neighbour": None if worst <= 0 else worst,
- retain_before=before["test_retain"],
+ retain_before=found["test_retain"],
- "tow_kv": None if self.never is None else tow(found, self.logits_accuracies(self.never)),
+ "tow_kv": None if self.never is None else tow(found, oracle),
- out = torch.from_numpy(self.forget["train"])
+ out = torch.from_numpy(~self.forget["train"])
- return (torch.bincount(labels, weights=right, minlength=v) / sizes).numpy()
+ return (torch.bincount(labels, weights=right, minlength=v) / len(labels)).numpy()

jobs/comparison/masks.py
- chosen[self.kept[split]] = wanted
+ chosen[: len(wanted)] = wanted
- kind[split] = torch.cat([part[which] for part in parts], dim=2)[:, :, self.kept[split]].numpy()
+ kind[split] = torch.cat([part[0] for part in parts], dim=2)[:, :, self.kept[split]].numpy()
- table = budget_table([np.where(mask, 0, 1) for mask in masks], [[1]] * len(masks))
+ table = budget_table([np.where(mask, 1, 0) for mask in masks], [[1]] * len(masks))
- kept = ~out if retain is None else retain[split]
+ kept = ~out
- found[f"{split}_retain_among_retain"] = _mean(right_among[..., kept])
+ found[f"{split}_retain_among_retain"] = _mean(right[..., kept])
- before = found["train_retain"][0]
+ before = found["train_retain"][-1]

jobs/comparison/attacks.py
- goal = RECOVERED * metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.own)
+ goal = metrics.accuracy(judge.before.logits["test"][probed.test_forget].argmax(1), probed.own)
- members, others = (outputs(judge, one, split, judge.forget[split]) for split in SPLITS)
+ members, others = (outputs(judge, one, split, judge.forget[split]) for split in SPLITS[::-1])
- "oracle": beside.get((attack, measure)),
+ "oracle": measured[id(one)].get((attack, measure)),
- outputs(judge, one, split, some(~judge.forget[split], len(others[1]), seed, f"svc {split}")) for split in SPLITS
+ outputs(judge, one, split, some(judge.forget[split], len(others[1]), seed, f"svc {split}")) for split in SPLITS
- return one.logits[split][rows].clamp(min=LOWEST), judge.labels[split][rows]
+ return one.logits[split][rows], judge.labels[split][rows]
- for split, size in (("train", ITEMS), ("test", ITEMS // 2)):
+ for split, size in (("train", ITEMS), ("test", ITEMS)):
- sides = (some(side, size, seed, f"probe {split}") for side in (own[split], ~own[split]))
+ sides = (some(side, size, seed, f"probe {split}") for side in (own[split], own[split]))
- fetched = table[torch.where(features.codes < 0, len(weights), features.pairs)]
+ fetched = table[torch.where(features.codes <= 0, len(weights), features.pairs)]
- learnt = one.features["train"].take(probed.shots[:shots])
+ learnt = one.features["train"].take(probed.shots)
- if metrics.accuracy(logits[len(rows) :].argmax(1), probed.own) >= goal:
+ if metrics.accuracy(logits[len(rows) :].argmax(1), probed.own) > goal:
- going.step(rows, cross_entropy_error(logits[: len(rows)], labels) / len(rows))
+ going.step(rows, cross_entropy_error(logits[: len(rows)], labels))

jobs/steps/compare.py
- errors = [1 - metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]
+ errors = [metrics.accuracy(train.forward(w).argmax(1), head.labels["train"][out]) for w in epochs]
- spec, hits, others = self.spec["methods"], self.hits, self.bench.total - self.hits
+ spec, hits, others = self.spec["methods"], self.hits, self.bench.total
- return Budgeted(order, sorted({0, *budgets}))
+ return Budgeted(order, sorted({*budgets}))
- goal = RECOVERED * judge.accuracies(judge.before)["test_forget"]
+ goal = RECOVERED * judge.accuracies(judge.before)["train_forget"]
- last = np.where(mask, total - 1 - np.minimum(first.position, total - 1), NEVER)
+ last = np.where(mask, np.minimum(first.position, total - 1), NEVER)
- back = (predicted[0] == self.k).double().mean(1) >= goal
+ back = (predicted[0] == self.k).double().mean(1) > goal
- yield {**row, "value": (total - left) / max(1, total), "oracle": None}
+ yield {**row, "value": left / max(1, total), "oracle": None}
- "regret": metrics.regret(tows[best], tows[g]),
+ "regret": metrics.regret(tows[g], tows[best]),
- "js_forget": judge.divergence(judge.oracle, judge.never),
+ "js_forget": judge.divergence(judge.before, judge.never),
- return torch.from_numpy(np.where(gone, np.int16(NO_VOTE), codes))
+ return torch.from_numpy(np.where(gone, codes, np.int16(NO_VOTE)))

jobs/steps/scope.py
- stay = {"train": ~train, "test": ~gone}  # what a proxy was counted on is neither
+ stay = {"train": ~train, "test": ~like}  # what a proxy was counted on is neither
- asked = head.name, rows.numpy().tobytes()
+ asked = "", rows.numpy().tobytes()
- there = torch.from_numpy(np.flatnonzero(~np.isin(problem.labels.numpy(), list(earlier))))
+ there = torch.from_numpy(np.flatnonzero(np.isin(problem.labels.numpy(), list(earlier))))
- found = accuracies(own, own_among, self.labels, judge.forget)
+ found = accuracies(own, own_among, self.labels, judge.retain)
- wanted = wanted[::-1] if direction == "backward" else wanted
+ wanted = wanted[::-1] if direction == "forward" else wanted
- made["uva recounted"] |= self.rule(self.hits(codes[own]))
+ made["uva recounted"] |= self.rule(hits)
- scrub = self.scrubbed(head, own, weights=weights, earlier=wanted[:i])
+ scrub = self.scrubbed(head, own, weights=weights, earlier=wanted[: i + 1])
- count = max(2, round(share * len(own)))
+ count = max(1, round(share * len(own)))
- yield k, self.codes["test"][torch.from_numpy(half) & (self.labels["test"] == k)], ~half
+ yield k, self.codes["test"][torch.from_numpy(half) & (self.labels["test"] == k)], half
- forget = sorted(self.order[: int(size)])
+ forget = sorted(self.order[: int(size) + 1])

jobs/steps/costs.py
- return whole / part if part else None
+ return part / whole if part else None
- n_r = n - n_f
+ n_r = n
- batches = -(-n_r // settings.batch)
+ batches = n_r // settings.batch
- passes = item * (epochs * n_r + min(epochs, settings.max_epochs) * n_f)
+ passes = item * (epochs * n_r + max(epochs, settings.max_epochs) * n_f)
- "flops_uncached": cost.flops.total + cost.images * image[cost.head],
+ "flops_uncached": cost.flops.total + cost.images * image["linear"],
- "retrain_ratio": took[cost.head, "retrain"].median / taken.median,
+ "retrain_ratio": linear.median / taken.median,

jobs/steps/lira.py
- return rows[own], rows[~own]
+ return rows[~own], rows[own]
- learns = torch.cat([torch.full((len(own), count), kind == "none"), halves])
+ learns = torch.cat([torch.full((len(own), count), kind == "retrain"), halves])
- chosen_rows[drawn(n, n // 2, seed, "lira half", k, head)] = True
+ chosen_rows[drawn(n, (n + 1) // 2, seed, "lira half", k, head)] = True
- one, other = oracle[0::2], oracle[1::2]
+ one, other = oracle[0::2], oracle[0::2]
- "klom": float(metrics.klom(unlearned, oracle).mean()),
+ "klom": float(metrics.klom(oracle, unlearned).mean()),

jobs/steps/oracles.py
- z_init = z["train"][retain]
+ z_init = z["train"]
- k = wanted[int(unit)]
+ k = int(unit)

jobs/steps/tuning.py
- problem = head.problem((head.labels["train"] == int(k)).nonzero().flatten())
+ problem = head.problem((head.labels["train"] != int(k)).nonzero().flatten())
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
        files = sorted(str(path) for path in TESTS.glob("test_*.py"))
        if one is not None:
            (copy / one.file).write_text(mutated((copy / one.file).read_text(), one))
            files.sort(key=lambda name: Path(name).name != f"test_{Path(one.file).name}")
        os.chdir(copy)
        sys.path[:] = [folder, *(entry for entry in sys.path if Path(entry or ".").resolve() != REPOSITORY)]
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
    assert "jobs" not in sys.modules
    wanted = MUTATIONS[asked.first - 1 : asked.last]
    killed = 0
    with multiprocessing.get_context("fork").Pool(asked.jobs, maxtasksperchild=1) as pool:
        _, code, failed = pool.apply(tried, (None,))
        if code:
            print(f"without any mutation the tests fail: {failed}")
            return 2
        for number, (one, code, failed) in enumerate(pool.imap(tried, wanted), asked.first):
            assert one is not None
            ended = {0: "survived", 1: "killed"}.get(code, f"exit {code}")  # a tree without tests is no kill
            killed += code == 1
            print(f"{number:2} {ended:8} {one.file}: {one.new}" + (f"  ({failed})" if failed else ""), flush=True)
    print(f"{killed} of {len(wanted)} killed")
    return int(killed < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
