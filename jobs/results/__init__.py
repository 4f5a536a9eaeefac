"""What is on a root: experiments, their tables and figures."""
