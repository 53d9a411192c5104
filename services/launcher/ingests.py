"""Processes of the ingests that were asked of the launcher: as many as the row says, again where one was ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared import layout
from shared.domain.errors import BadInputError
from shared.domain.records import Ingest
from shared.domain.runs import MAX_PREEMPTIONS
from shared.ports import Catalog, Launched, Launcher, Objects


@dataclass(slots=True)
class _Fruitless:
    """How often processes were started again since the last pack was written."""

    packs: int = 0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Ingests:
    """Brings ingest rows and processes together. Every step may be repeated."""

    catalog: Catalog
    objects: Objects
    launcher: Launcher
    _fruitless: dict[str, _Fruitless] = field(default_factory=dict)

    def step(self, processes: Mapping[str, Launched]) -> None:
        """Start what is missing, start again what was ended from outside, note what failed, forget what is over."""
        known: set[str] = set()
        for row in self.catalog.ingests():
            if row.requested:
                mine = {name: processes.get(name) for name in _names(row)}
                self._step(row, mine)
                known |= mine.keys()
        for name in processes:
            if name.startswith("ingest-") and name not in known:
                self.launcher.delete(name)

    def _step(self, row: Ingest, mine: Mapping[str, Launched | None]) -> None:
        there = [process for process in mine.values() if process is not None]
        failed = next((process for process in there if process.state == "failed"), None)
        if row.state == "running" and failed is not None:
            last_line = (failed.log_tail.splitlines() or ["it said nothing"])[-1]
            self._fail(row, f"{failed.name}: {failed.reason or f'exit code {failed.exit_code}: {last_line}'}")
        elif row.state == "running":
            for index, (name, process) in enumerate(mine.items()):
                if process is None:
                    self._launch(row, name, index)
            ended = [process.name for process in there if process.state == "preempted"]
            # all well, and yet nobody has ended it: none of them saw the others' packs
            well = [process.name for process in there if process.state == "succeeded"]
            self._again(row, well if len(well) == len(mine) else ended)
        else:
            for process in there:
                if row.state == "failed" or process.state != "running":  # who is about to end by itself may tidy up
                    self.launcher.delete(process.name)

    def _again(self, row: Ingest, names: list[str]) -> None:
        if not names:
            return
        packs = sum(key.endswith(".npz") for key in self.objects.list(layout.ingest_prefix(row.dataset)))
        count = self._fruitless.setdefault(row.dataset, _Fruitless())
        if count.packs != packs:
            count.packs, count.times = packs, 0
        count.times += 1
        if count.times > MAX_PREEMPTIONS * row.processes:
            self._fail(row, f"its processes were ended {count.times} times without another pack; out of memory?")
            return
        for name in names:
            self.launcher.delete(name)
            self._launch(row, name, _names(row).index(name))

    def _launch(self, row: Ingest, name: str, index: int) -> None:
        order = ["--dataset", row.dataset, "--index", str(index), "--count", str(row.processes)]
        try:
            self.launcher.launch(name, ["services.ingest", *order])
        except BadInputError as error:  # the installation's fault, and yet other rows go on
            self._fail(row, str(error))

    def _fail(self, row: Ingest, reason: str) -> None:
        self._fruitless.pop(row.dataset, None)
        if self.catalog.ingest(row.dataset) == row:  # it may have told why itself, or another may have ended it
            self.catalog.end_ingest(row.dataset, "failed", reason)


def _names(row: Ingest) -> list[str]:
    return [f"ingest-{row.dataset}-{index}" for index in range(row.processes)]
