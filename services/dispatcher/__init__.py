"""Scoring jobs: made by people, driven by the dispatcher, run by workers."""

from services.dispatcher.dispatcher import Dispatcher
from services.dispatcher.progress import Progress, Speed, observe
from services.dispatcher.requests import JobRequest, cancel, create, find_or_create, reclaim

__all__ = ["Dispatcher", "JobRequest", "Progress", "Speed", "cancel", "create", "find_or_create", "observe", "reclaim"]
