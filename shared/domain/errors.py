"""The errors a person or a caller can act on. Anything else that escapes is a defect of Shelver."""


class ShelverError(Exception):
    """An error with one line that a person can act on."""


class BadInputError(ShelverError):
    """Input that cannot be used: exit code 2 on the command line, a 4xx problem document in the API.

    `where` names the file (or option), `position` the place in it ("offset 4096", "line 12"), `reason` what is wrong
    there and `remedy` what to do about it.
    """

    def __init__(self, where: str, reason: str, *, position: str = "", remedy: str = "") -> None:
        self.where = where
        self.reason = reason
        self.position = position
        self.remedy = remedy
        place = f"{where}, {position}" if position else where
        super().__init__(f"{place}: {reason}" + (f"; {remedy}" if remedy else ""))


class NotFoundError(ShelverError):
    """A dataset, run, ensemble version, job or object that is not there."""


class ConflictError(ShelverError):
    """The request contradicts what is stored: a name in use, other content under the same key."""


class StoreUnavailableError(ShelverError):
    """A store did not answer. Never a fault of the product or the chunk in hand: back off and try again."""


class NewerSchemaError(ShelverError):
    """A row, message or manifest written by a newer Shelver: hand it back untouched."""


class FailedError(ShelverError):
    """Work that ended in failure through no fault of the input: exit code 1."""
