"""`python -m tests.stub_score HOME JOB`: what `shelver score` does, with a stub engine in the child process."""

import sys
from pathlib import Path

from services.dispatcher import Dispatcher
from shared import wiring
from shared.adapters.child import ChildQueue
from shared.job_requests import reclaim
from shared.settings import LeaseSettings, Settings, to_environment

LEASES = LeaseSettings(beat_seconds=0.05, lease_seconds=2.0, sent_seconds=5.0, poll_seconds=0.01)


def settings(home: Path) -> Settings:
    return Settings(home=home, leases=LEASES)


def child_queue(home: Path, **stub: str) -> ChildQueue:
    """The queue of this process; `stub` are variables of `tests.stub_worker`."""
    return ChildQueue(
        [sys.executable, "-m", "tests.stub_worker"],
        environment=to_environment(settings(home)) | stub,
        log=home / "logs" / "scoring.log",
        back_off=0.01,
    )


def main(home: Path, job: str) -> int:
    stores = wiring.stores(settings(home))
    queue = child_queue(home)
    with wiring.exclusive(settings(home)):
        reclaim(stores.jobs)
        try:
            Dispatcher(stores.jobs, stores.objects, queue, settings(home)).run([job])
        except KeyboardInterrupt:
            return 130
        finally:
            queue.close(grace=2)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
