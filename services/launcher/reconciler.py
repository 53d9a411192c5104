"""One pass over a training's runs: what each row says, what its process and its objects say, and the next step."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from shared import layout
from shared.domain import runs as rules
from shared.domain.errors import BadInputError, NotFoundError
from shared.domain.records import Run, Training
from shared.domain.runs import LatestCheckpoints
from shared.ports import Clock, Launched, Launcher, Objects, Runs

_BAD_INPUT = 2  # the exit code by which a trainer says so


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Brings rows and processes together. Every step may be repeated: rows change by compare-and-set."""

    runs: Runs
    objects: Objects
    launcher: Launcher
    clock: Clock = time.time  # seconds since the epoch, for people and for retention

    def advance(self, training: Training, processes: Mapping[str, Launched]) -> dict[str, Run]:
        """Advance each of the training's runs by at most one state; the rows by member, parents first."""
        rows: dict[str, Run] = {}
        for member, run_id in training.runs.items():
            run = self.runs.run(run_id)
            new = self._next(run, processes, rows)
            if new is not None and new.state not in rules.OPEN:
                new = replace(new, ended=self.clock())
            if new is not None and self.runs.swap_run(run, new):
                if new.state == "complete":
                    self._tidy(run)
                run = new
            rows[member] = run
        return rows

    def launch(
        self, training: Training, rows: dict[str, Run], processes: Mapping[str, Launched], *, room: int
    ) -> set[str]:
        """Start up to `room` pending runs, and again what was marked but never started; the ids of all that run."""
        for member, run in rows.items():
            known = rules.process_name(run) in processes
            if run.state == "pending" and room > 0:
                new = rules.launch(run)
                if not self.runs.swap_run(run, new):
                    continue
                # the last attempt, and one of the new one's number from before the run was removed
                for name in {rules.process_name(run), rules.process_name(new)} & processes.keys():
                    self.launcher.delete(name)
                rows[member] = run = new
                room, known = room - 1, False
            if run.state == "running" and not known:
                rows[member] = self._start(run, training.dataset)
        return {run.id for run in rows.values() if run.state == "running"}

    def sweep(self, processes: Mapping[str, Launched]) -> None:
        """End and forget the processes of trainings that no running run names."""
        for name in processes:
            if not name.startswith("train-"):
                continue
            try:
                run = self.runs.run(name.removeprefix("train-").rpartition("-")[0])
            except NotFoundError:
                run = None
            if run is None or run.state != "running" or rules.process_name(run) != name:
                self.launcher.delete(name)

    def stop(self, rows: Mapping[str, Run]) -> None:
        """End what runs (each writes a checkpoint) and give it back, to go on later."""
        for run in rows.values():
            if run.state == "cancelled":
                self.launcher.delete(rules.process_name(run))
            if run.state == "running":
                self.launcher.delete(rules.process_name(run))
                self.runs.swap_run(run, rules.preempt(run, "interrupted", self._checkpoints(run)))

    def last_process(self, run: Run) -> Launched:
        """What the launcher knows of the run's last attempt."""
        name = rules.process_name(run)
        return self.launcher.status().get(name, Launched(name, "preempted"))

    def _next(self, run: Run, processes: Mapping[str, Launched], rows: Mapping[str, Run]) -> Run | None:
        process = processes.get(rules.process_name(run))
        if run.state == "running" and process is not None and process.state == "running":
            return None if process.reason == run.reason else rules.remark(run, process.reason)
        if run.state != "complete" and self.objects.exists(layout.run_file(run.id, "manifest.json")):
            return rules.complete(run)
        if run.state == "running" and process is not None:
            return self._ended(run, process)
        if run.state == "waiting":
            return _after(run, next(row for row in rows.values() if row.id == run.parent))
        return None

    def _ended(self, run: Run, process: Launched) -> Run:
        """The process is gone and the run is not complete."""
        self.objects.put(layout.run_last_lines(run.id, run.attempt), process.log_tail.encode())
        last_line = (process.log_tail.splitlines() or ["it said nothing"])[-1]
        if process.state == "preempted":
            return rules.preempt(run, process.reason or last_line, self._checkpoints(run))
        if process.exit_code == _BAD_INPUT:
            return rules.fail(run, last_line, bad_input=True)
        return rules.fail(run, process.reason or f"exit code {process.exit_code}: {last_line}")

    def _start(self, run: Run, dataset: str) -> Run:
        definition = replace(run, dataset=dataset).plain()
        self.objects.put(layout.run_file(run.id, "definition.json"), json.dumps(definition).encode())
        order = ["workers.training", "--run", run.id, "--attempt", str(run.attempt)]
        try:
            self.launcher.launch(rules.process_name(run), order)
        except BadInputError as error:  # the installation's templates: a person must mend them
            failed = replace(rules.fail(run, str(error)), ended=self.clock())
            return failed if self.runs.swap_run(run, failed) else run
        return run

    def _tidy(self, run: Run) -> None:
        """Forget the process of a complete run, and the checkpoints where it was ended before it removed them."""
        self.launcher.delete(rules.process_name(run))
        for key in list(self.objects.list(layout.run_file(run.id, "checkpoint/"))):
            self.objects.delete(key)

    def _checkpoints(self, run: Run) -> LatestCheckpoints:
        try:
            content = self.objects.read(layout.run_file(run.id, "checkpoint/latest.json"))
        except NotFoundError:
            return LatestCheckpoints()
        return LatestCheckpoints.from_plain(json.loads(content))


def _after(run: Run, parent: Run) -> Run | None:
    if parent.state == "complete":
        return rules.release(run)
    if parent.state in ("failed", "cancelled"):
        return rules.fail(run, f"its parent {parent.member} is {parent.state}")
    return None
