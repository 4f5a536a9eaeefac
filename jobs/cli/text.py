"""What a run prints at its end: the model before, the summary table, the figure."""

import json
from typing import TYPE_CHECKING

import dkvb_unlearning
from jobs.errors import BadRequest
from jobs.printable import say
from store.places import quoted

if TYPE_CHECKING:
    from jobs.results.experiment import Experiment


def show_summaries(experiments: "list[Experiment]", *, as_json: bool) -> None:
    """Print the model before, the summary table and the figure of each experiment."""
    from jobs.results.formats import records
    from jobs.results.sweep_tables import TABLES, heads, model_before

    if as_json:
        summaries = [
            {
                "name": experiment.name,
                "model": model_before(experiment),
                "test_accuracy": heads(experiment),
                "summary": records(TABLES["summary"](experiment)),
            }
            for experiment in experiments
        ]
        say(json.dumps(summaries, indent=2))
        return
    for experiment in experiments:
        _show_summary(experiment)


def _show_summary(experiment: "Experiment") -> None:
    from jobs.results.sweep_tables import headline

    say(f"\n{headline(experiment)}\n")
    if experiment.spec["sweep"].get("each", True):
        _show_classes(experiment)
    if "sets" in experiment.steps:
        say(f"""Sets of classes, each forgotten together:
  dkvb table {quoted(experiment.root)} --table sets --experiment {quoted(experiment.name)}""")
    if "tuning" in experiment.steps:
        say(f"""Compared with baselines, controls and oracles:
  dkvb table {quoted(experiment.root)} --table compare --experiment {quoted(experiment.name)}
  and in place of compare: oracle_gap, attacks, metrics, selection, costs, scope""")


def _show_classes(experiment: "Experiment") -> None:
    from jobs.results.figures import figure, shows
    from jobs.results.formats import markdown, side_by_side
    from jobs.results.headline import by_class, sweep_table
    from jobs.results.heads import for_people
    from jobs.results.parts import few, legend
    from jobs.results.sweep_tables import TABLES, left_out_text

    rows, table = sweep_table(experiment), few(TABLES["summary"](experiment), "summary")
    say(markdown(side_by_side(for_people(table))))
    lines = [] if "sums" in experiment.steps else left_out_text(by_class(rows))  # the legend says what masks are for
    say("".join(f"{line}\n" for line in lines) + legend("summary", experiment, table.columns))
    say(f"""All columns:
  dkvb table {quoted(experiment.root)} --experiment {quoted(experiment.name)} --columns all""")
    path = experiment.root / f"{experiment.name}.png"
    made_of = f"dkvb {dkvb_unlearning.__version__}: sweep/{experiment.steps['sweep']}"
    try:
        if not shows(path, made_of):
            figure(rows, path, title=f"{experiment.name}: forgetting each class by itself", made_of=made_of)
        say(f"Figure: {path}")
    except BadRequest as error:
        say(f"No figure: {error}")
