"""A job's answers from a gateway into a file: taken up again behind the last whole row that arrived."""

import json
from typing import BinaryIO

from services.cli.client import AwayError, Client, Params


def download(client: Client, job: str, rows: int, form: str, options: Params, file: BinaryIO) -> None:
    """Write the `rows` rows of a job as csv, ndjson or parquet into an empty file.

    A broken connection is taken up again, as often as it takes, as long as something arrives in between. Raises as
    `Client`.
    """
    transfer = _Transfer(client, job, rows, form, options, file)
    while True:
        before = transfer.arrived
        try:
            client.patiently(transfer.parquet if form == "parquet" else transfer.text)
        except AwayError:
            if transfer.arrived == before:
                raise
        else:
            return


class _Transfer:
    """What has arrived of the answers, in whole rows."""

    def __init__(self, client: Client, job: str, rows: int, form: str, options: Params, file: BinaryIO) -> None:
        self._client = client
        self._path = ("jobs", job, "predictions")
        self._rows = rows
        self._form = form
        self._options = {"format": form, **options}
        self._file = file
        self._last = b""  # the last whole row
        self.arrived = 0

    def parquet(self) -> None:
        """One file of the whole: it cannot be taken up in the middle."""
        self._empty()
        with self._client.stream(*self._path, **self._options) as pieces:
            self._file.writelines(pieces)

    def text(self) -> None:
        """The rows that have not arrived yet."""
        if not self.arrived:  # but a header perhaps
            self._empty()
        after = self._product() if self.arrived else None
        rest = b""
        with self._client.stream(*self._path, **self._options, after=after) as pieces:
            for piece in pieces:
                whole, end, rest = (rest + piece).rpartition(b"\n")
                self._take(whole + end)
        if self.arrived < self._rows:  # some proxies end a stream that was cut as if it were whole
            raise AwayError(f"the answers of the job ended after {self.arrived} of {self._rows} rows")

    def _empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def _take(self, lines: bytes) -> None:
        if not lines:
            return
        heading = self._form == "csv" and not self._file.tell()
        self._file.write(lines)
        self.arrived += lines.count(b"\n") - heading
        self._last = lines[lines.rfind(b"\n", 0, -1) + 1 :]

    def _product(self) -> int:
        return int(self._last.split(b",")[0] if self._form == "csv" else json.loads(self._last)["_id"])
