"""The plan: the steps of an experiment, their order, and what they will cost."""
