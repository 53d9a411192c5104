"""One invocation of a verb: where it works, and what it has open."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from services.cli.place import Place
from services.cli.show import remark
from shared import wiring
from shared.domain.errors import BadInputError
from shared.job_requests import reclaim
from shared.leadership import DISPATCHER, LAUNCHER, vacate
from shared.ports import Stores
from shared.settings import Settings


@dataclass
class Session:
    """One invocation: the stores of a home, opened once a verb needs them, or the gateway that it asks instead."""

    home_settings: Settings
    place_of: Callable[["Session"], Place]
    faults: Sequence[BadInputError] = ()
    """What is wrong with the settings of the environment: only `doctor` goes on in spite of it."""
    verb: str = ""
    server: str = ""
    """Address of a gateway; empty: the home."""
    key: str = field(default="", repr=False)
    leaving: ExitStack = field(default_factory=ExitStack)
    """What is open until the verb ends."""

    @property
    def settings(self) -> Settings:
        """The settings of the home. Raises BadInputError where a server is asked, which has a home of its own."""
        if self.server:
            raise BadInputError(
                "--server",
                f"`{self.verb}` works on the stores of this machine only",
                remedy="leave --server out and unset SHELVER_SERVER; a server's stores are reached beside it, as by "
                f"`kubectl exec deployment/shelver-worker-default -- shelver {self.verb}`",
            )
        return self.home_settings

    @cached_property
    def place(self) -> Place:
        """Where the verbs work that a gateway knows too."""
        return self.place_of(self)

    @cached_property
    def stores(self) -> Stores:
        """All stores, opened on first use."""
        self._check_home()
        return wiring.stores(self.settings)

    def exclusive(self) -> AbstractContextManager[None]:
        """The home for this process alone."""
        self._check_home()
        return wiring.exclusive(self.settings)

    def remark_if_idle(self, verb: str) -> None:
        """Say that what is stored as running was interrupted, if no process works in the home."""
        if not self.settings.catalog and not wiring.holder(self.settings):
            remark(f"nobody works here now: what is running was interrupted, and the same `shelver {verb}` goes on")

    def reclaim(self) -> None:
        """Take back what died processes held, where the home is all: on servers, other machines may hold it."""
        if not self.settings.catalog:
            reclaim(self.stores.jobs)
            for service in (DISPATCHER, LAUNCHER):
                vacate(self.stores.leases, service)

    def _check_home(self) -> None:
        home = self.settings.home
        remedy = "name a folder that can be written, with --home DIR or SHELVER_HOME"
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"no stores can be kept there: {error.strerror or error}"
            raise BadInputError(str(home), reason, remedy=remedy) from None
        if not os.access(home, os.W_OK | os.X_OK):
            raise BadInputError(str(home), "no stores can be kept there: it is read-only", remedy=remedy)
