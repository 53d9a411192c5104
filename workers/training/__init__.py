"""One training process: a member of an ensemble on one dataset, to a complete run."""
