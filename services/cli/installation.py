"""`python -m services.cli.installation [--pool POOL]`: whether an installation works, seen from inside: `helm test`.

Opens the stores and the queue of the environment's settings, and asks the gateway at SHELVER_SERVER with SHELVER_KEY.
Prints a line per check; none leaves anything but a row that counts the tests. Exit codes: 0 all is well, 1 something is
not, 2 bad settings.
"""

import argparse
import io
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from PIL import Image

from services.cli.checks import Check, FaultError, answer
from services.cli.client import Client
from shared import wiring
from shared.domain.errors import BadInputError
from shared.ports import Leases, Objects, Queue, Stores
from shared.settings import from_environment

_LEASE = "installation"
_SERVERS = "look at the server, at the settings that name it, and at the network policies between"
_GATEWAY = "look at the gateway's pods and their log"
_WORKERS = "look at the pods of the pool and their log"


def main(arguments: Sequence[str]) -> int:
    """Every check; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.cli.installation", description=__doc__)
    parser.add_argument("--pool", default="default", help="whose workers answer (default: %(default)s)")
    pool = parser.parse_args(arguments).pool
    try:
        settings = from_environment()
        stores, queue = wiring.stores(settings), wiring.queue(settings)
        client = Client(os.environ.get("SHELVER_SERVER", ""), os.environ.get("SHELVER_KEY", ""))
    except BadInputError as error:
        print(error, file=sys.stderr)
        return 2
    well = True
    with closing(client):
        for check in checks(stores, queue, client, pool):
            well = well and check.ok
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.words}", flush=True)
            if check.remedy:
                print(f"     {check.remedy}", flush=True)
    queue.close(grace=0.0)
    return 0 if well else 1


def checks(stores: Stores, queue: Queue, client: Client, pool: str) -> Iterator[Check]:
    """In the order in which a person would mend things."""
    yield answer("objects", _SERVERS, lambda: _objects(stores.objects))
    yield answer("documents", _SERVERS, lambda: _documents(stores.leases))
    yield answer("queue", _SERVERS, lambda: _queue(queue))
    yield answer("gateway", _GATEWAY, lambda: _gateway(client))
    yield answer("prediction", _WORKERS, lambda: _prediction(client, pool))


def _objects(objects: Objects) -> str:
    key, content = f"installation/{uuid.uuid4().hex}", bytes(range(256))
    try:
        objects.put(key, content)
        if objects.read(key, 100, 50) != content[100:150]:
            raise FaultError("a range of an object is not what was put there", _SERVERS)
    finally:
        objects.delete(key)
    if objects.exists(key):
        raise FaultError("an object is still there after it was deleted", _SERVERS)
    return "put, read a range, deleted"


def _documents(leases: Leases) -> str:
    before = leases.lease(_LEASE)
    after = replace(before, holder=uuid.uuid4().hex, term=1, beat=before.beat + 1)
    if not leases.swap_lease(before, after):
        raise FaultError("another test of this installation ran meanwhile", "run it alone")
    if leases.lease(_LEASE) != after:
        raise FaultError("a row is not what was written", _SERVERS)
    return f"read, written by compare-and-set, read again: test {after.beat} of this installation"


def _queue(queue: Queue) -> str:
    queue.check()
    return "it answers"


def _gateway(client: Client) -> str:
    found = client.readiness()
    away = [f"{name}: {words}" for name, words in found.items() if words != "ok"]
    if away:
        raise FaultError("; ".join(away), _SERVERS)
    return f"ready: {', '.join(found)}"


def _prediction(client: Client, pool: str) -> str:
    current = [version["name"] for version in client.get("ensembles")["ensembles"] if version["current"]]
    if not current:
        return "not asked for: there is no ensemble yet"
    picture = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(picture, "JPEG")
    fields = {"ensemble": current[-1], "pool": pool}
    found = client.post_form("predictions", fields=fields, images=[picture.getvalue()])
    return f"a worker of pool {pool} answered by {found['ensemble']}@{found['version']} in {found['seconds']:.2f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
