"""What was asked, by whom, where all of it came from, and how to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dkvb.orders import TAU
from jobs import evidence
from jobs.printable import shown
from jobs.report.beside import Taken, run_text
from jobs.report.records import (
    NOTHING,
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    Facts,
    Missing,
    Paragraph,
    Section,
    Table,
    free_cell,
    isolated,
    name,
    number,
    number_cell,
    text_cell,
)
from jobs.report.swept import Swept
from jobs.report.toml import toml
from jobs.results.experiment import Experiment
from jobs.results.sweep_tables import heads, model_before
from jobs.results.words import METHODS
from jobs.spec.reading import as_table
from jobs.spec.schema import DRAWS
from store.artefacts import PROVENANCE, Artefact, as_written, read_json
from store.places import Place, quoted

NAMED = 5
"""Images that could not be used, of which the page names so many."""


@dataclass(frozen=True, slots=True)
class Made:
    """Where one finished step came from."""

    label: str
    digest: str
    said: Mapping[str, Any]
    """Its provenance."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None where an earlier version did not say."""
        seconds = (self.said.get("times") or {}).get("seconds")
        return None if seconds is None else float(seconds)


def read_made(experiment: Experiment) -> list[Made]:
    """The finished steps, in the order of the plan."""
    made = []
    for label, digest in experiment.steps.items():
        artefact = Artefact(experiment.root, label.partition("[")[0], digest)
        if artefact.done:
            path = artefact.path / PROVENANCE
            with as_written(path):
                made.append(Made(label, digest, dict(read_json(path))))
    return made


def asked(experiment: Experiment, made: Sequence[Made], swept: Swept | None) -> Section:
    """The experiment, its data, its model, its methods, and the rule for N."""
    with as_written(experiment.root):
        facts = [
            ("Experiment", shown(experiment.name)),
            ("Data set", data_text(experiment, swept)),
            *([("Left out", text)] if (text := left_out_text(made)) else []),
            ("Backbone", backbone_text(experiment, made)),
            ("Model", model_text(experiment)),
            *([("Before anything is forgotten", before_text(experiment))] if swept is not None else []),
            ("Asked", asked_text(experiment.spec["sweep"])),
            *(
                (f"Method, {METHODS[method].title}", f"{METHODS[method].what}; N counts {METHODS[method].unit}")
                for method in METHODS
                if experiment.spec["sweep"].get(method)
            ),
            (
                "Rule for N",
                f"the smallest N of the grid whose masked pairs hold {100 * TAU:g} % of the class's training "
                "activations; it reads no test item and no prediction",
            ),
        ]
    blocks: list[Block] = [Facts(facts)]
    if swept is None:
        blocks.append(Missing("The run is not finished:", run_text(experiment)))
    return Section("asked", "What was asked", blocks)


def data_text(experiment: Experiment, swept: Swept | None) -> str:
    """Kind, splits and sizes of the images."""
    images = experiment.spec["images"]
    if swept is not None:
        train, test = (sum(swept.items[split]) for split in ("train", "test"))
        sizes = f"{train:,} training items, {test:,} test items, {len(swept.names):,} classes"
    else:
        sizes = ", ".join(f"{count:,} {what}" for what, count in images["expect"].items())
    share = images.get("test_share")
    tested = images["test"] if share is None else f"{100 * share:g} % held out"
    files = "" if images["kind"] == "digits" else f" ({images['train']}, {tested})"
    return shown(f"{images['kind']}{files}{': ' if sizes else ''}{sizes}")


def left_out_text(made: Sequence[Made]) -> str:
    """Images and shards that could not be used, each once; empty where all could."""
    said = [one for step in made for one in (step.said.get("facts") or {}).get("left_out") or ()]
    found = {(one["shard"], one["item"]): ": ".join(filter(None, one.values())) for one in said}
    if not found:
        return ""
    some = [*found.values()][:NAMED] + [f"and {len(found) - NAMED} more"] * (len(found) > NAMED)
    return shown(
        f"{len(found):,} of the images and shards, which could not be used: {'; '.join(some)}; all are in "
        "provenance.json of the steps manifest and embeddings"
    )


def backbone_text(experiment: Experiment, made: Sequence[Made]) -> str:
    """The frozen network."""
    asked = experiment.spec["backbone"]
    text = f"{asked['library']} {asked['name']}, weights {asked['weights']}"
    if asked["layer"]:
        text += f", layer {asked['layer']}"
    facts: Mapping[str, Any] = next(
        (step.said["facts"].get("backbone", {}) for step in made if step.label == "embeddings[train]"), {}
    )
    if "size" in facts:
        text += f", images of {' × '.join(map(str, facts['size']))} pixels, {facts.get('d_z')} features"
    if facts.get("weights_sha256"):
        text += f", SHA-256 of the weights {facts['weights_sha256']}"
    return shown(f"{text}; frozen")


def model_text(experiment: Experiment) -> str:
    """The bottleneck."""
    size = experiment.spec["bottleneck"]
    text = f"{size['c']:,} codebooks of {size['m']:,} pairs each, keys of {size['d_k']} numbers"
    finished = Artefact(experiment.root, "values", experiment.steps["values"]).done
    return f"{text}; SHA-256 {experiment.model}" if finished else text


def before_text(experiment: Experiment) -> str:
    """What the model knows, and leaks, before anything is forgotten."""
    model = model_before(experiment)
    auc = model["membership AUC"]
    leaks = "unknown" if auc is None else f"{auc:.3f} (0.5 leaks nothing)"
    return (
        f"{number(model['train'])} % of the training items right, {number(model['test'])} % of the test items (linear "
        f"head on the same features {number(heads(experiment)['linear'])} %); membership AUC by loss {leaks}"
    )


def asked_text(sweep: Mapping[str, Any]) -> str:
    """Which classes are forgotten, by themselves and in sets; a spec of an earlier version knows no sets."""
    classes, parts = sweep["classes"], []
    if not sweep.get("each", True):
        pass
    elif classes is None:
        parts.append("every class, each forgotten by itself")
    else:
        some = ", ".join(isolated(name(each)) for each in classes[:10])
        rest = f" and {len(classes) - 10:,} more" if len(classes) > 10 else ""
        parts.append(f"{some}{rest}, each forgotten by itself")
    if sweep.get("sizes") is not None:
        sizes, draws = ", ".join(map(str, sweep["sizes"])), sweep["draws"] or DRAWS
        parts.append(f"random sets of {sizes} classes forgotten together, {draws:,} of each size")
    if sweep.get("sets") is not None:
        parts.append(f"{len(sweep['sets']):,} sets by name")
    return "; ".join(parts)


def seconds(made: Sequence[Made], swept: Swept | None) -> list[Taken]:
    """What was done once, and how long it took."""
    kinds = {
        "embeddings": "images through the backbone",
        "keys": "keys fitted",
        "codes": "codes",
        "sums": "sums over the training items",
        "values": "values trained, or solved for",
        "counts": "counts",
        "neighbours": "nearest keys in order",
        "linear": "linear head trained, or solved for",
        "sweep": "sweep: every class at every N of the grid",
        "sets": "sweep: sets of classes at every N of the grid",
    }
    found: list[Taken] = []
    for kind, what in kinds.items():
        taken = [step.seconds for step in made if step.label.partition("[")[0] == kind and "@" not in step.label]
        known = [each for each in taken if each is not None]
        if known:
            found.append(Taken(what, sum(known), each_class(swept) if kind == "sweep" else ""))
    return [*found, Taken("all of these", sum(one.seconds for one in found))] if found else []


def each_class(swept: Swept | None) -> str:
    """How long the sweep took for a class."""
    if swept is None:
        return ""
    texts = []
    for method in swept.methods:
        mean = swept.classes.filter(pl.col("method") == method)["seconds"].mean()
        if isinstance(mean, float):
            texts.append(f"{number(mean, 1)} s {METHODS[method].title}")
    return f"each class at every N {', '.join(texts)}" if texts else ""


def requests(root: Place) -> Section:
    """What the log of the root says."""
    rows, wrong = evidence.log(root), [*evidence.faults(root).values()]
    damage: list[Block] = [Paragraph("Not as it was written:"), Bullets([*map(shown, wrong)])] if wrong else []
    if not rows and not wrong:
        missing = Missing(
            "No request is in the log of this root; one is made, and logged, by", "dkvb unlearn ROOT --class NAME"
        )
        return Section("requests", "Requests", [missing])
    table = Table(
        id="requests",
        caption="Requests to forget, the newest first",
        columns=[
            Column("Made (UTC)", sorted="descending"),
            Column("Classes"),
            Column("Method"),
            Column("N", numeric=True),
            Column("By"),
            Column("Ticket"),
            Column("Reason"),
            Column("Signed"),
            Column("Folder"),
        ],
        rows=[
            [
                text_cell(row["made"]),
                Cell(", ".join(isolated(name(str(each))) for each in row["classes"] or []), name=True),
                text_cell(row["method"]),
                number_cell(row["budget"], 0),
                free_cell(row["by"]),
                free_cell(row["ticket"]),
                free_cell(row["reason"]),
                text_cell("yes" if row["signed"] else "no"),
                text_cell(f"unlearned/{row['unlearned']}"),
            ]
            for row in reversed(rows)
        ],
    )
    return Section(
        "requests",
        "Requests",
        [
            *damage,
            table,
            Paragraph("Whether files and signatures are as certified:"),
            Code("dkvb verify ROOT/unlearned/FOLDER/certificate.json ROOT"),
        ],
    )


def provenance(made: Sequence[Made]) -> Section:
    """Code, versions, machines, times, and digests of every step."""
    said = [step.said for step in made]
    facts = [
        ("Code", different(each.get("commit") for each in said)),
        ("Python", different(each.get("python") for each in said)),
        ("Versions", different(versions_text(each.get("versions") or {}) for each in said)),
        ("Machine", different(machine_text(each.get("machine") or {}) for each in said)),
    ]
    rows = []
    for step in made:
        times = step.said.get("times") or {}
        rows.append(
            [
                text_cell(step.label),
                text_cell(step.digest),
                text_cell(str(times["ended"])[:19].replace("T", " ") if times.get("ended") else None),
                number_cell(step.seconds, 1),
            ]
        )
    columns = [Column("Step"), Column("Digest"), Column("Finished (UTC)"), Column("Seconds", numeric=True)]
    blocks: list[Block] = [
        Paragraph("The digest of a step is of what it asks and of the digests of all that it is made of."),
        Facts(facts),
        Table(id="steps", caption="Steps", columns=columns, rows=rows, open=len(rows)),
    ]
    return Section("provenance", "Provenance", blocks if made else [])


def different(texts: Any) -> str:
    """The different texts among some, in order."""
    return shown("; ".join(dict.fromkeys(str(text) for text in texts if text))) or NOTHING


def versions_text(versions: Mapping[str, Any]) -> str:
    """Packages with their versions."""
    return ", ".join(f"{package} {version}" for package, version in versions.items() if version)


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in a line."""
    cpus = f"{machine['cpus']} CPUs" if machine.get("cpus") else ""
    return ", ".join(str(part) for part in (machine.get("processor"), cpus, machine.get("system")) if part)


def reproduce(experiment: Experiment, made: Sequence[Made]) -> Section:
    """The commands that make all of it again."""
    commits = [str(step.said["commit"]) for step in made if step.said.get("commit")]
    checkout = [f"git checkout {shown(commits[-1]).removesuffix('+dirty')}"] if commits else []
    which = f"--experiment {quoted(experiment.name)}"
    commands = [
        *checkout,
        run_text(experiment),
        "dkvb status ROOT",
        f"dkvb table ROOT --table classes {which}",
        f"dkvb report ROOT {which} -o report.html",
    ]
    blocks: list[Block] = [
        Paragraph(
            "ROOT is any empty folder, DIR where the images are. Equal images, spec and code give the digests above; "
            "equal versions on a like machine give equal bytes too."
        ),
        Code("\n".join(commands)),
        Code(toml(as_table(experiment.spec)), folded=f"The spec, to be saved as {experiment.name}.toml"),
    ]
    return Section("reproduce", "How to reproduce it", blocks)
