"""`python -m benchmarks.stub_worker ID`: the scoring worker of a home, whose ensembles are those of `stub_service`."""

import sys

from benchmarks.stub_service import engines
from workers.scoring.__main__ import main

if __name__ == "__main__":
    sys.exit(main(engines))
