"""A line of `doctor`, and how a look at something becomes one whatever is broken there."""

import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from shared.domain.errors import ShelverError


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, whether it is well, in words; `remedy`: what to do, where there is something."""

    name: str
    ok: bool
    words: str
    remedy: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class FaultError(Exception):
    """What a look found to be wrong, with a remedy of its own."""

    def __init__(self, words: str, remedy: str) -> None:
        self.words = words
        self.remedy = remedy
        super().__init__(words)


def answer(name: str, remedy: str, look: Callable[[], str]) -> Check:
    """The check of a look, which returns its words or raises; `remedy` is for errors that bring none."""
    try:
        return Check(name, True, look())
    except FaultError as fault:
        return Check(name, False, fault.words, fault.remedy)
    except (ShelverError, OSError, sqlite3.Error, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        return Check(name, False, str(error) or type(error).__name__, remedy)
