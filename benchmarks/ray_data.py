"""Our scoring against Ray Data's `map_batches`: reading, decoding and the network in one step, by tasks or by a pool of
actors, or decoding in tasks and the network in an actor.

Processes of tasks stay for the next run; an actor pool is started by each run, as Ray Data does.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import processor
from benchmarks.peer_scoring import IMAGES, Answers, Pictures, Score, Setting, against, answers
from benchmarks.peer_steps import Answerer, Columns, Scorer, decoded, scored
from benchmarks.rounds import ROUNDS, Comparison, Goals
from workers.vision.devices import cores

_END_SECONDS = 30.0  # in which its processes end, which write into their folder until then
_GOALS = Goals(must=2.5, aim=4.0)
_TASKS, _ACTORS, _BOTH = "tasks", "actors", "tasks, then an actor"


def measure(folder: Path, *, images: int = IMAGES, rounds: int = ROUNDS) -> Comparison:
    return _against(folder, "ray", "Pillow", images, rounds)


def measure_best(folder: Path, *, images: int = IMAGES, rounds: int = ROUNDS) -> Comparison:
    return _against(folder, "ray best", "simplejpeg", images, rounds)


def _against(folder: Path, name: str, decoder: str, images: int, rounds: int) -> Comparison:
    settings: list[Setting] = [
        {"steps": how, "batches of": batch, "blocks of": batches * batch, "decoder": decoder}
        for how in (_TASKS, _ACTORS, _BOTH)
        for batch in (128, 512)
        for batches in (4, 8)
    ]
    with _cluster():
        return against(folder, name, scoring, settings, images, rounds, "Ray Data", _GOALS)


@dataclass(frozen=True)
class Step:
    """One `map_batches`: a function, or a class that is made with `arguments` and whose instances are called."""

    what: Callable[[Columns], Columns] | type[Callable[[Columns], Columns]]
    actors: int = 0  # instances, each in a process of its own; 0: it is a function
    arguments: tuple[str, ...] = ()
    cores: int = 1  # that one call takes


def steps(how: str, dump: str, decoder: str) -> list[Step]:
    if how == _TASKS:
        return [Step(partial(scored, dump=dump, decoder=decoder))]
    if how == _ACTORS:
        return [Step(Scorer, cores(), (dump, decoder))]
    # the network stands for a GPU, which would take no core
    return [Step(partial(decoded, dump=dump, decoder=decoder)), Step(Answerer, 1, cores=0)]


@contextmanager
def _cluster() -> Iterator[None]:
    """Of this machine alone. Its folder has a short path, since those of sockets must be."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray.data

    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(
            "local",
            num_cpus=cores(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",  # else it looks for one that other machines would reach
            _temp_dir=folder,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield
        finally:
            started = list(processor.below(os.getpid()))
            ray.shutdown()
            processor.wait_for(started, _END_SECONDS)


@contextmanager
def scoring(pictures: Pictures, setting: Setting) -> Iterator[Score]:
    import pyarrow as pa
    import ray

    table = pa.table({name: getattr(pictures, name) for name in ("product", "offset", "length")})
    rows = setting["blocks of"]
    dataset = ray.data.from_arrow([table.slice(start, rows) for start in range(0, len(pictures), rows)])
    for step in steps(setting["steps"], pictures.dump, setting["decoder"]):
        options = {"batch_size": setting["batches of"], "num_cpus": step.cores}
        if step.actors:
            options |= {"fn_constructor_args": step.arguments, "compute": ray.data.ActorPoolStrategy(size=step.actors)}
        dataset = dataset.map_batches(step.what, **options)

    def score() -> Answers:
        found = list(dataset.iter_batches(batch_size=None))
        return answers([batch["product"] for batch in found], [batch["class"] for batch in found])

    yield score
