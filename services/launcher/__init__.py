"""Walks the member graph of trainings and starts the processes of ingests: for one command, or as a service."""

from services.launcher.service import Service
from services.launcher.training import prepare_split, train

__all__ = ["Service", "prepare_split", "train"]
