"""The experiment: specs, steps, plan, run and the command line; the only package that knows the other three."""

OWNER = "dkvb-unlearning"
