"""The engines: each executes the same compiled pipeline somewhere else."""
