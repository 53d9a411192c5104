"""The dispatcher drives scoring jobs: chunks to workers, what was lost again, and ends."""

from services.dispatcher.dispatcher import Dispatcher

__all__ = ["Dispatcher"]
