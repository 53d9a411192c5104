"""How a training ends that someone else asked to go."""


class PreemptedError(Exception):
    """The process was asked to go: what it had is in a checkpoint."""
