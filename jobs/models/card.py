"""The card of an exported model: what it is, what was forgotten, and the evidence, as a hub shows it (README.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from dkvb.checkpoint import identity
from dkvb.onnx import Compared
from dkvb.pretrained import CERTIFICATE, CONFIG, MODEL, ONNX, Config
from dkvb_unlearning import __version__
from jobs.certificate import LIMITS, read
from jobs.evidence import texts
from jobs.models.chosen import Chosen
from jobs.printable import per_cent, shown
from jobs.query.measure import WORDS
from jobs.results.formats import MARKDOWN, markdown
from jobs.results.headline import before
from store.artefacts import Artefact, as_written

BACKBONE_KNOWS = "The backbone is frozen, and represents the classes whatever a head forgets."

NAMED = 50
"""Classes that a list of names, or a table, goes through."""

METHODS = {
    "uva": "Unlearning via Activations: the most activated pairs were taken away",
    "uva-values": "Unlearning via Activations: the pairs with most votes for the classes were taken away",
    "uva-contrast": "Unlearning via Activations: the pairs hit more by the classes than by others were taken away",
    "uve": "Unlearning via Examples: the pairs of one example after another were taken away",
    "retrain": "values trained anew on all other training items, by the recipe of the model, on the same keys",
    "exact": "the items left the sums of which the head is solved for: it equals, bit for bit, one that never saw them",
    "learn": "images joined the sums of which the head is solved for: it equals, bit for bit, one that always had them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a card is made of."""

    chosen: Chosen
    config: Config
    digest: str
    """SHA-256 of config.json."""
    compared: Compared | None
    """ONNX beside torch."""
    licence: str | None


def card(evidence: Evidence) -> str:
    """The card, in Markdown; raises: ArtefactDamaged, NotARoot where the root does not hold what it should."""
    chosen = evidence.chosen
    certificate, signature = None, None
    if chosen.certificate is not None:
        certificate, signature = read(chosen.certificate)
    parts = [
        _head(evidence),
        _what(evidence),
        *([_purged(chosen)] if chosen.without else []),
        _trained(chosen) if chosen.made is None else _forgotten(chosen, chosen.made, certificate),
        _evidence(evidence, certificate, signed=signature is not None),
        _limits(certificate),
        _use(evidence),
        _origin(evidence),
    ]
    return "\n".join(parts)


def text(words: str) -> str:
    """A text of somebody's as plain words in Markdown."""
    return shown(words).translate(MARKDOWN)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(text, names[:NAMED])) + more


def _head(evidence: Evidence) -> str:
    lines = ["---", "library_name: dkvb", "pipeline_tag: image-classification"]
    if evidence.licence is not None:
        lines.append(f"license: {evidence.licence}")
    tags = ["image-classification", "machine-unlearning", "discrete-key-value-bottleneck"]
    lines += ["tags:", *(f"- {tag}" for tag in [*tags, *["onnx"] * (evidence.compared is not None)])]
    request = evidence.config.header.get("unlearned") or {}
    names = [*_purged_classes(evidence.chosen), *(request.get("classes") or [])]
    what = ", ".join(map(text, names[:3]))
    without = f", without {what}" if what and _forgets(request) else ""
    return "\n".join([*lines, "---", "", f"# {text(evidence.config.experiment)}{without}", ""])


def _forgets(request: Mapping[str, Any]) -> bool:
    return request.get("method") != "learn"


def _what(evidence: Evidence) -> str:
    header = evidence.config.header
    facts, classes = header["backbone"], header["classes"]
    how = "a linear head" if evidence.config.head == "linear" else "a Discrete Key-Value Bottleneck"
    pixels = " x ".join(map(str, facts["size"]))
    return "\n".join(
        [
            f"An image classifier of {len(classes)} classes: {how} on a frozen backbone, {text(facts['library'])} "
            f"{text(facts['name'])} at {pixels} pixels.",
            "",
            f"Classes: {listed(classes)}.",
            "",
        ]
    )


def _purged_classes(chosen: Chosen) -> list[str]:
    """Classes of which purges left nothing."""
    return [name for one in chosen.purges if one.said for name in texts(one.said["request"].get("classes"))]


def _purged(chosen: Chosen) -> str:
    """Of a model that was made anew without what was forgotten for good."""
    items = f"{chosen.without} training item{'s were' if chosen.without != 1 else ' was'}"
    names = _purged_classes(chosen)
    whole = listed(names) if names else "none"
    lines = ["## What was forgotten for good", ""]
    lines += [f"{items} forgotten; keys, values and heads were made anew without, as if never seen.", ""]
    lines.append(f"- classes as a whole: {whole}")
    for one in chosen.purges:
        said = one.said or {}
        number = said["request"].get("items")
        ids = texts(said["request"].get("requests")) or [one.folder]
        lines.append(f"- {text(str(said['made']))}: {text(str(number))} items, request {', '.join(map(text, ids))}")
    return "\n".join([*lines, ""])


def _trained(chosen: Chosen) -> str:
    """Of a model that forgot nothing."""
    experiment, lines = chosen.experiment, list[str]()
    if not chosen.without:
        lines = ["## Nothing was forgotten", "", "The model is as it was trained.", ""]
    accuracies: Mapping[str, float | None] = {}
    if chosen.head == "linear":
        facts = experiment.artefact("linear").facts()
        with as_written(experiment.artefact("linear").path):
            accuracies = {str(split): float(share) for split, share in facts["accuracy"].items()}
    elif "sweep" in experiment.steps and Artefact(experiment.root, "sweep", experiment.steps["sweep"]).done:
        accuracies = before(experiment).accuracy
    rows = [{"items": WORDS[split], "accuracy": per_cent(share)} for split, share in accuracies.items()]
    return "\n".join([*lines, *([markdown(pl.DataFrame(rows))] if rows else [])])


def _forgotten(chosen: Chosen, made: Artefact, certificate: Mapping[str, Any] | None) -> str:
    """Of a model that a request left."""
    with as_written(made.path):
        spec = made.spec()
        request = {**spec, **(certificate["request"] if certificate is not None else made.facts())}
        lines = ["## What was forgotten" if _forgets(request) else "## What was learned", ""]
        names = request["classes"]
        facts: dict[str, str] = {"classes": listed(names) if names else "none as a whole", "method": _method(request)}
        for key, word in FACTS.items():
            if request.get(key) is not None:
                facts[word] = _number(key, request[key])
    lines += [f"- {word}: {said}" for word, said in facts.items()]
    if chosen.later:
        later = ", ".join(chosen.later)
        lines += ["", f"Later requests went on from this one ({later}); this model knows what they forgot."]
    measured = None if certificate is None else certificate.get("measured")
    if measured is None:
        return "\n".join([*lines, "", "Nothing was measured of this model on its root.", ""])
    with as_written(chosen.certificate or made.path):
        tables = [markdown(_before_and_after(measured))]
        if "classes" in measured:
            tables += ["", *_classes(measured["classes"])]
        auc = measured["membership_auc"]
        if auc and None not in auc.values():
            tables += [
                f"Membership AUC by loss: {auc['after']:.3f}, before {auc['before']:.3f} (what was forgotten against "
                "test items of the same classes; 0.5: this attack cannot tell them apart).",
                "",
            ]
    return "\n".join([*lines, "", *tables])


FACTS = {
    "budget": "N",
    "pairs_masked": "pairs taken away",
    "pairs_masked_share": "share of all pairs",
    "forget_hit_share": "share of the classes' training activations",
    "single": "single training items",
    "items": "training items in all",
    "left": "items that are left",
    "epochs": "epochs",
}
"""What a request says of itself -> what that is called on the card."""


def _method(request: Mapping[str, Any]) -> str:
    method = str(request["method"])
    return f"{text(method)} ({METHODS[method]})" if method in METHODS else text(method)


def _number(key: str, value: Any) -> str:
    return per_cent(float(value)) if key.endswith("share") else str(int(value))


def _before_and_after(measured: Mapping[str, Any]) -> pl.DataFrame:
    """Items that were recognised before and are after, of what was forgotten and of the rest."""
    parts: list[tuple[str, Mapping[str, Any]]] = []
    sides = {"forget": "forgotten", "retain": "the others", "retain_among_retain": "the others, among them alone"}
    for side, what in sides.items():
        if "test" in measured:  # of single items
            parts += [(f"{what}: training items", measured[side])] if side in measured else []
        else:
            parts += [(f"{what}: {WORDS[split]}", change) for split, change in measured.get(side, {}).items()]
    if "test" in measured:
        parts.append(("all test items", measured["test"]))
    return pl.DataFrame([_row(what, change) for what, change in parts])


def _row(what: str, change: Mapping[str, Any]) -> dict[str, str]:
    before, after = change["before"], change["after"]
    bounds = "" if after["low"] is None else f"{100 * after['low']:.2f} to {100 * after['high']:.2f} %"
    return {
        "items": what,
        "right before": _right(before),
        "right after": _right(after),
        "accuracy after": per_cent(after["accuracy"]),
        "95 % interval": bounds,
    }


def _right(known: Mapping[str, Any]) -> str:
    return "none of 0" if not known["items"] else f"{known['right']} of {known['items']}"


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the classes: the forgotten ones, then those that lost most test items."""
    ordered = sorted(rows, key=lambda row: (not row["forget"], row["test_after"] - row["test_before"]))
    table = [
        {
            "class": row["name"],
            "": "forgotten" if row["forget"] else "",
            "test items": row["test_items"],
            "right before": row["test_before"],
            "right after": row["test_after"],
        }
        for row in ordered[:NAMED]
    ]
    left = [f"{len(rows) - NAMED} classes that lost less are left out.", ""] if len(rows) > NAMED else []
    return [markdown(pl.DataFrame(table)), *left]


def _evidence(evidence: Evidence, certificate: Mapping[str, Any] | None, *, signed: bool) -> str:
    """Digests of the files, and what the certificate is."""
    files = {**evidence.config.files, CONFIG: f"{evidence.digest} "}
    rows = [{"file": name, "SHA-256": stamp.split()[0]} for name, stamp in files.items()]
    lines = ["## Evidence", "", markdown(pl.DataFrame(rows))]
    lines.append(f"`{MODEL}` is `{text(evidence.chosen.origin)}` of the root that it was made on, byte for byte.")
    if certificate is not None and CERTIFICATE in evidence.config.files:
        how = "signed" if signed else "not signed"
        lines.append(
            f"`{CERTIFICATE}`, of {text(str(certificate['made']))}, {how}, names that SHA-256. `dkvb verify FOLDER` "
            "checks the files, and with `--key PUB` whose signature it is."
        )
    elif certificate is not None:
        lines.append("The certificate of the request stays on the root, and names that SHA-256.")
    else:
        lines.append("There is no certificate.")
    if evidence.compared is not None:
        lines += ["", f"`{ONNX}` beside torch, on {evidence.compared.images} images: {evidence.compared.text()}."]
    return "\n".join([*lines, ""])


def _limits(certificate: Mapping[str, Any] | None) -> str:
    limits = (BACKBONE_KNOWS,) if certificate is None else certificate.get("limits", LIMITS)
    return "\n".join(["## Limits", "", *(f"- {text(str(limit))}" for limit in limits), ""])


def _use(evidence: Evidence) -> str:
    return f"""## Use

```python
import torch
from PIL import Image
from dkvb.pretrained import from_pretrained  # pip install dkvb-unlearning

model = from_pretrained("FOLDER", digest="{evidence.digest}")
images = torch.stack([model.transform(Image.open("photo.png").convert("RGB"))])
names = [model.classes[k] for k in model(images).argmax(1)]
```
"""


def _origin(evidence: Evidence) -> str:
    header, chosen = evidence.config.header, evidence.chosen
    facts = header["backbone"]
    steps = {label: digest for label, digest in chosen.experiment.steps.items() if label in MADE_OF}
    rows = [
        {"what": f"weights of the backbone ({facts['weights']})", "digest": facts["weights_sha256"]},
        *([{"what": "model", "digest": identity(header)}] if evidence.config.head == "values" else []),
        *({"what": label, "digest": digest} for label, digest in steps.items()),
    ]
    return "\n".join(["## Origin", "", markdown(pl.DataFrame(rows)), f"Exported by dkvb {__version__}.", ""])


MADE_OF = ("manifest[train]", "manifest[test]", "embeddings[train]", "keys", "codes[train]", "values", "sums", "linear")
"""Steps that a card names."""
