"""`shelver score` with real networks, killed with SIGKILL at random moments, again and again."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from services import cli
from shared import wiring
from shared.settings import Settings

KILLS = 20
LONGEST_SECONDS = 8.0  # about what an undisturbed run takes: kills fall before, into and after the scoring


def score(home: Path) -> "subprocess.Popen[bytes]":
    verb = ["score", "test", "--ensemble", "tiny", "--chunk-images", "64", "--no-skip-decided"]
    return subprocess.Popen([sys.executable, "-m", "services.cli", "--home", str(home), *verb])


def test_score_killed_at_random_moments_submits_what_an_undisturbed_run_does(shop, tmp_path, seed):
    moments = random.Random(seed)
    home = tmp_path / "home"
    shop.copy(home)
    jobs = wiring.stores(Settings(home=home)).jobs
    killed = 0
    while killed < KILLS:
        with score(home) as process:
            try:
                # Ended before its moment: the job is complete, and a kill would prove nothing. It begins anew.
                assert process.wait(timeout=moments.uniform(0.2, LONGEST_SECONDS)) == 0
                jobs.remove_job(newest(jobs))
            except subprocess.TimeoutExpired:
                process.kill()
                assert process.wait() == -signal.SIGKILL
                killed += 1
    with score(home) as process:
        assert process.wait() == 0
    job = jobs.job(newest(jobs))
    assert (job.state, jobs.count_outcomes(job.id)) == ("succeeded", job.products)
    assert all(chunk.losses == 0 for chunk in jobs.chunks(job.id))
    for name, scored in (("undisturbed", shop.job), ("killed", job.id)):
        assert cli.run(["--home", str(home), "export", scored, "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "killed").read_bytes() == (tmp_path / "undisturbed").read_bytes()


def newest(jobs) -> str:
    """The job of 64 images a chunk, not the one that the shop was scored by."""
    return next(job.id for job in jobs.jobs() if job.options.chunk_images == 64)
