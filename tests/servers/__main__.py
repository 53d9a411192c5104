"""`python -m tests.servers`: all servers on free ports until Ctrl-C, and the variables that name them."""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.servers.fixtures import started
from tests.servers.process import ProcessError
from tests.servers.server import LOOPBACK, minio_server, mongo_server, redis_server, s3_client, versity_server

_BUCKET = "shelver"


def main(bind: str) -> None:
    """Data lies in a temporary folder and goes with it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shelver-servers-")))
        makers = (redis_server, mongo_server, minio_server, versity_server)
        print(f"starting servers on {bind}; the first time, Go builds three of them (minutes)", file=sys.stderr)
        redis, mongo, s3, other_s3 = (
            stack.enter_context(started(make(folder / make.__name__, bind))) for make in makers
        )
        for server in (s3, other_s3):
            s3_client(server).make_bucket(_BUCKET)
        lines = (
            f"SHELVER_CATALOG={mongo.url}/shelver",
            f"SHELVER_OBJECTS=s3://{_BUCKET}",
            f"SHELVER_S3_ENDPOINT={s3.url}",
            f"SHELVER_QUEUE={redis.url}/0",
            f"AWS_ACCESS_KEY_ID={s3.access_key}",
            f"AWS_SECRET_ACCESS_KEY={s3.secret_key}",
        )
        print("".join(f"export {line}\n" for line in lines), end="")
        print(f"# {other_s3.url} is another S3 server with the same keys and bucket; Ctrl-C ends all", flush=True)
        signal.pause()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--bind", default=LOOPBACK, help="address of this machine to serve on (default: %(default)s)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main(parser.parse_args().bind)
    except KeyboardInterrupt:
        sys.exit(0)
    except ProcessError as error:
        sys.exit(f"servers: {error}")
