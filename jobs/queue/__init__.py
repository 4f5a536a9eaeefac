"""The queue of jobs: its files, the commands on it, the reconciler and the driver of a job."""
