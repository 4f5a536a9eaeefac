"""The page: its sections in order, what its script reads, and the HTML.

The page asks no server: its own style and its own script are named by their digests in a policy that forbids all else.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jobs.errors import BadRequest
from jobs.query.stored import Stored
from jobs.report.along import along, explored
from jobs.report.beside import beside, cost, done, limits, read_attacks, run_text
from jobs.report.hit import hit
from jobs.report.lost import lost
from jobs.report.origin import asked, provenance, read_made, reproduce, requests, seconds
from jobs.report.records import Missing, Section
from jobs.report.sets import sets
from jobs.report.swept import forgotten, read_swept
from jobs.report.usage import read_usage, store
from jobs.results.experiment import Experiment

TEMPLATES = Path(__file__).parent / "templates"


def report(experiment: Experiment) -> bytes:
    """One experiment as a page of HTML, UTF-8; the same root gives the same bytes.

    raises: BadRequest where Jinja2 is not installed; ArtefactDamaged.
    """
    sections, data = content(experiment)
    return render(f"{experiment.name}: what was forgotten, and what it cost", sections, data)


def content(experiment: Experiment) -> tuple[list[Section], dict[str, Any] | None]:
    """The sections, and what the script reads; None where nothing was swept."""
    made = read_made(experiment)
    swept = read_swept(experiment) if done(experiment, "sweep") else None
    usage = read_usage(Stored(experiment)) if done(experiment, "counts") and done(experiment, "values") else None
    attacks = read_attacks(experiment)
    command = run_text(experiment)
    losers = {} if swept is None or usage is None else hit(Stored(experiment), swept)
    results = (
        [
            Section("forgotten", "What was forgotten", [Missing("No class was forgotten yet:", command)]),
            Section("lost", "What was lost", [Missing("No class was forgotten yet:", command)]),
        ]
        if swept is None
        else [forgotten(swept), lost(swept), along(swept)]
    )
    activations = (
        Section("store", "The store of activations", [Missing("Activations were not counted yet:", command)])
        if usage is None
        else store(usage)
    )
    sections = [
        asked(experiment, made, swept),
        limits(experiment, attacks),
        *results,
        *sets(experiment),
        cost(experiment, seconds(made, swept)),
        beside(experiment, attacks),
        activations,
        requests(experiment.root),
        provenance(made),
        reproduce(experiment, made),
    ]
    return sections, None if swept is None else explored(swept, {}, {}) if usage is None else explored(
        swept, usage.alike(), losers
    )


def render(title: str, sections: list[Section], data: dict[str, Any] | None) -> bytes:
    """The HTML of some sections; raises: BadRequest where Jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise BadRequest("reports need Jinja2: pip install 'dkvb-unlearning[report]'") from None
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("page.html.j2").render(
        title=title,
        sections=sections,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(embedded(data)),
    )
    return f"{page}\n".encode()


def policy(style: str, script: str) -> str:
    """A content security policy under which these two texts work, and nothing else does."""
    return (
        f"default-src 'none'; style-src '{named(style)}'; script-src '{named(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def named(text: str) -> str:
    """A text by its digest, as a policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def embedded(data: Any) -> str:
    """JSON that can stand in a page: ASCII, and without the characters that begin or end an element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
