"""Sweeps of any size for pages, made up, and pages read back."""

from html.parser import HTMLParser

import numpy as np
import polars as pl

from dkvb.overlap_matrix import OverlapMatrix
from jobs.report.along import along, explored
from jobs.report.lost import lost
from jobs.report.page import render
from jobs.report.swept import Swept, forgotten
from jobs.report.usage import Usage, store
from jobs.results.headline import KEYS, at_rule, by_class
from jobs.results.sweep_tables import by_method
from tests.jobs.results.sweeps import SCHEMA

ODD = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "a\u202eb\u2066c",
    "line\u2028break\nand\x1b[31m",
    "x" * 5000,
    "猫" * 90,
    "say \"hi\" & 'bye'",
    "مرحبا",
    "e" + "\u0301" * 400,
    "__proto__",
    "{{ 7 * 7 }}",
    "https://example.org/?a=1&b=2",
    "",
]
"""Names as strangers may give them."""


def swept(names, *, budgets=20, train=1300, test=50, methods=("uva", "uve"), seeds=1, retain=0.7):
    """A sweep in which every class loses its items evenly, at other rates and with other neighbours."""
    v, rows, draw = len(names), [], np.random.default_rng(0)
    others = (v - 1) * test
    for method in methods:
        for seed in range(seeds if method == "uve" else 1):
            for k, name in enumerate(names):
                cost = draw.uniform(0, 0.02)
                for step in range(budgets):
                    at = step / (budgets - 1)
                    lost = round(cost * at * others)
                    row: dict[str, object] = dict.fromkeys(SCHEMA, 0.0)
                    row |= {"class": k, "name": name, "method": method, "seed": seed, "digest": "d"}
                    row |= {"budget": round(at * (20000 + 10 * k)), "share": at, "pairs_masked": round(at * 30000)}
                    row |= {"forget_hit_share": min(1.0, 1.1 * at), "pairs_masked_share": at * 0.02}
                    row |= {"train_forget": round(train * max(0, 1 - 1.05 * at)) / train, "train_retain": 1 - cost * at}
                    row |= {"test_forget": round(test * 0.8 * max(0, 1 - 1.1 * at)) / test if test else None}
                    row |= {"test_retain": retain - lost / others if others else None}
                    row |= {"test_retain_among_retain": row["test_retain"], "seconds": 0.25}
                    row |= {"worst_neighbour": (k + 1 + step // 7) % v, "neighbour_damage": 3 * cost * at}
                    row |= {"worst_neighbour_name": names[(k + 1 + step // 7) % v], "worst_neighbour_items": test}
                    row |= {"test_retain_lost": lost + 2, "test_retain_gained": 2}
                    row |= {"train_items": train, "test_items": test, "test_others": others}
                    rows.append(row)
    table = pl.DataFrame(rows, schema=SCHEMA, strict=False)
    classes = by_class(table)
    more = at_rule(table).select(*KEYS, "worst_neighbour", "test_retain_lost", "test_retain_gained")
    items = {"train": [train] * v, "test": [test] * v}
    joined = classes.join(more, on=KEYS, how="left", maintain_order="left")
    return Swept(list(names), items, table, joined, by_method(classes))


def usage(names, *, c=256, m=4096):
    """Counts in which neighbours share most."""
    v, draw = len(names), np.random.default_rng(1)
    used = draw.integers(m // 2, m, c)
    load = pl.DataFrame(
        {
            "codebook": np.arange(c),
            "used": used,
            "unused": m - used,
            "effective": used * draw.uniform(0.3, 0.8, c),
            "largest_share": draw.uniform(0.001, 0.01, c),
            "exclusive_share": draw.uniform(0.1, 0.4, c),
        }
    )
    apart = np.abs(np.subtract.outer(np.arange(v), np.arange(v)))
    shared = (10000 / (1 + apart)).astype(np.int64)
    return Usage(list(names), m, load, OverlapMatrix(shared, 0.6 / (1 + apart), draw.uniform(0, 0.4, v)))


def page(names, **more):
    """A page of the sections that grow with the classes."""
    sweep, counts = swept(names, **more), usage(names)
    sections = [forgotten(sweep), lost(sweep), along(sweep), store(counts)]
    return render("made: what was forgotten, and what it cost", sections, explored(sweep, counts.alike()))


VOID = {"meta", "link", "input", "br", "hr", "img"}


class Read(HTMLParser):
    """A page as a browser would read it: its elements, whether they nest, and its texts."""

    def __init__(self, data):
        super().__init__(convert_charrefs=True)
        self.opened: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.texts: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(data.decode())
        self.close()
        if self.opened:
            self.faults.append(f"never closed: {self.opened}")

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        if not self.opened or self.opened.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        within = self.opened[-1] if self.opened else ""
        self.inside.setdefault(within, []).append(data)
        if within not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        """All that is shown."""
        return "".join(self.texts)

    def of(self, tag):
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]
