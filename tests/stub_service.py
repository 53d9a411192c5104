"""`python -m tests.stub_service`: the scoring worker as a service, with the engine of `tests.stub_worker`."""

import sys

from tests.stub_worker import engines
from workers.scoring.service import main

if __name__ == "__main__":
    sys.exit(main(engines))
