"""Walks the member graph of a training: launches runs, follows them, makes the ensemble version."""

from services.launcher.progress import TrainingProgress
from services.launcher.training import prepare_split, train

__all__ = ["TrainingProgress", "prepare_split", "train"]
