"""`dkvb completion`: what makes a shell complete names (`jobs.cli.completing`)."""

import click
from click.shell_completion import get_completion_class

from jobs.cli.options import JSON
from jobs.cli.output import show_new

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print what makes a shell complete names.")
@click.argument("shell", type=click.Choice(SHELLS))
@JSON
def completion(shell: str, *, as_json: bool) -> None:
    """Print a script for a shell that completes commands, options, specs, classes and experiments.

    Example: dkvb completion bash >> ~/.bashrc

    zsh: dkvb completion zsh >> ~/.zshrc

    fish: dkvb completion fish > ~/.config/fish/completions/dkvb.fish
    """
    root = click.get_current_context().find_root()
    made = get_completion_class(shell)
    assert made is not None
    show_new(None, made(root.command, {}, "dkvb", "_DKVB_COMPLETE").source(), as_json=as_json)
