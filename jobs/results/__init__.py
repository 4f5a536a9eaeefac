"""What stands on a root: experiments, their tables and figures."""
