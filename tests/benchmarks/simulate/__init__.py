"""A model of the pipeline that is checked against measured runs before it says anything else."""
