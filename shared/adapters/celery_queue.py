"""The queue on Redis, by Celery: one queue per pool, and settings under which the rows of jobs stay the only truth.

A message that its worker took and never acknowledged comes again after the visibility timeout, perhaps while it still
runs, and a message that killed its worker is gone. Neither matters: chunks are claimed by compare-and-set, and leases
send again what was lost. Answers to one-off questions travel as short-lived keys of their own rather than by Celery's
results, whose client shares one connection among all threads that wait.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from billiard.exceptions import WorkerLostError
from celery import Celery, bootsteps, signals
from kombu.exceptions import OperationalError

from shared.domain.errors import FailedError, StoreUnavailableError

HANDLE, ANSWER = "shelver.handle", "shelver.answer"
DEFAULT_POOL = "default"

_VISIBILITY_SECONDS = 900  # set in all three places: the shortest counts
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0  # without a byte: the connection is dead; waiting for messages is done in shorter turns
_REPLY_SECONDS = 60  # an answer that nobody fetches is gone by then
_TRANSPORT = {
    "visibility_timeout": _VISIBILITY_SECONDS,
    "socket_keepalive": True,
    "socket_connect_timeout": _CONNECT_SECONDS,
    "socket_timeout": _READ_SECONDS,
    "health_check_interval": 25,
    "retry_on_timeout": True,
}
_SETTINGS = {
    "broker_transport_options": _TRANSPORT,
    "result_backend_transport_options": {"visibility_timeout": _VISIBILITY_SECONDS},
    "visibility_timeout": _VISIBILITY_SECONDS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # an outage never kills a worker
    "worker_prefetch_multiplier": 0,  # 1 never takes a message again after an acknowledgement that failed
    "worker_disable_prefetch": True,  # else waiting messages hoard where nobody sees them
    "worker_hijack_root_logger": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # a chunk goes on without its message
    "task_acks_late": True,
    "task_reject_on_worker_lost": False,  # with True, what kills its worker is taken again and again
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_default_delivery_mode": "persistent",
    "task_create_missing_queues": True,
}
_RETRY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}


def queue_name(pool: str) -> str:
    """The queue of a pool's messages."""
    return f"shelver.{pool}"


def application(url: str) -> Celery:
    """The Celery application of a Redis; nothing connects yet. One per process."""
    app = Celery("shelver", broker=url, set_as_current=False)
    app.conf.update(_SETTINGS)
    return app


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a worker process wants to know: its loop has turned, a child begins (called in it), and it is to stop."""

    turned: Callable[[], None] = lambda: None
    child_begins: Callable[[], None] = lambda: None
    stopping: Callable[[], None] = lambda: None


def work(app: Celery, pool: str, hooks: Hooks, *, turn_seconds: float = 5.0) -> None:
    """Take a pool's messages until SIGTERM: one child computes, this process only fetches. Needs the main thread."""

    def begin(**_: Any) -> None:
        hooks.child_begins()

    def stop(**_: Any) -> None:
        hooks.stopping()

    class Turns(bootsteps.StartStopStep):
        """A timer of the consumer's loop: it stands still when the loop does."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            hooks.turned()
            self.timer = consumer.timer.call_repeatedly(turn_seconds, hooks.turned, priority=10)

        def stop(self, _: Any) -> None:
            if timer := getattr(self, "timer", None):
                timer.cancel()

    def failed(exception: BaseException, args: Any, sender: Any = None, **_: Any) -> None:
        if sender.name == ANSWER and isinstance(exception, WorkerLostError):  # whoever asked still waits
            _reply(app, args[1], {"error": "the scoring worker died before it answered"})

    signals.worker_process_init.connect(begin, weak=False)
    signals.task_failure.connect(failed, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    app.steps["consumer"].add(Turns)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments = ["--pool=prefork", "--concurrency=1", f"--queues={queue_name(pool)}", "--loglevel=WARNING"]
    app.worker_main(["worker", *arguments, *quiet])


def register(
    app: Celery,
    handle: Callable[[Mapping[str, Any]], None],
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    """Make the application take messages by `handle` and questions by `answer`; what either raises is logged."""

    @app.task(name=HANDLE)
    def _handle(message: dict[str, Any]) -> None:
        handle(message)

    @app.task(name=ANSWER, acks_late=False)  # nobody waits for a second try
    def _answer(question: dict[str, Any], reply_to: str) -> None:
        try:
            reply: dict[str, Any] = {"answer": dict(answer(question))}
        except Exception as error:
            _reply(app, reply_to, {"error": str(error) or type(error).__name__})
            raise
        _reply(app, reply_to, reply)


def _reply(app: Celery, key: str, reply: Mapping[str, Any]) -> None:
    with _client(str(app.conf.broker_url)) as client, client.pipeline() as pipeline:
        pipeline.rpush(key, json.dumps(reply))
        pipeline.expire(key, _REPLY_SECONDS)
        pipeline.execute()


def _client(url: str, read_seconds: float | None = _CONNECT_SECONDS) -> "redis.Redis":
    return redis.Redis.from_url(
        url, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=read_seconds, socket_keepalive=True
    )


def backlog(url: str, pool: str) -> int:
    """Messages that wait in a pool's queue. Raises StoreUnavailableError."""
    with _translated(), _client(url) as client:
        found = client.llen(queue_name(pool))
        assert isinstance(found, int)
        return found


class CeleryQueue:
    """The Queue port over Redis: what services send with. Workers are somewhere else."""

    def __init__(self, url: str) -> None:
        """Connects on first use."""
        self._url = url
        self._app = application(url)
        self._closed = False

    def send(self, message: Mapping[str, Any]) -> None:
        """See the port; `pool` of the message names whose it is."""
        self._publish(HANDLE, [dict(message)], message)

    def ask(self, question: Mapping[str, Any], *, timeout: float) -> Mapping[str, Any]:
        """See the port."""
        key = f"shelver.answer.{uuid.uuid4().hex}"
        self._publish(ANSWER, [dict(question), key], question, expires=timeout)
        with _translated(), _client(self._url, timeout + _CONNECT_SECONDS) as client:
            found = client.blpop([key], timeout=timeout)
        if found is None:
            pool = question.get("pool", DEFAULT_POOL)
            raise FailedError(f"no worker of pool '{pool}' answered within {timeout:g} s")
        reply = json.loads(found[1])
        if "error" in reply:
            raise FailedError(reply["error"])
        answer: Mapping[str, Any] = reply["answer"]
        return answer

    def check(self) -> None:
        """See the port."""
        self._check_open()
        with _translated(), _client(self._url) as client:
            client.ping()

    def waiting(self, pool: str) -> int:
        """See the port."""
        return backlog(self._url, pool)

    def lost_workers(self) -> frozenset[str]:
        """None: the queue cannot tell, and leases can."""
        return frozenset()

    def close(self, *, grace: float) -> None:  # noqa: ARG002 - workers are not this process's
        """Close the connections."""
        self._closed = True
        self._app.close()

    def _publish(self, task: str, arguments: list[Any], about: Mapping[str, Any], **options: Any) -> None:
        self._check_open()
        queue = queue_name(about.get("pool", DEFAULT_POOL))
        with _translated():
            self._app.send_task(task, arguments, queue=queue, retry=True, retry_policy=_RETRY, **options)

    def _check_open(self) -> None:
        if self._closed:
            raise FailedError("the queue is closed")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError, OperationalError) as error:
        raise StoreUnavailableError(f"the queue does not answer: {error}") from error
