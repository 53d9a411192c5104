"""External stores for an installation on the cluster.

They run on this machine, at the address by which it reaches the API server; TEST_CLUSTER_BIND names another one.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from shared.settings import S3Settings, Settings
from tests.guide import REPOSITORY
from tests.servers.fixtures import started
from tests.servers.places import credentials_file
from tests.servers.server import minio_server, mongo_server, redis_server, s3_client

SAMPLE = REPOSITORY / "examples" / "grocery"


@contextmanager
def external_stores(folder: Path) -> Iterator[Settings]:
    """MongoDB's protocol, Redis and S3 where pods reach them: the settings that name them."""
    bind = os.environ.get("TEST_CLUSTER_BIND") or _towards_the_api_server()
    with ExitStack() as stack:
        makers = (redis_server, mongo_server, minio_server)
        redis, mongo, s3 = (stack.enter_context(started(make(folder / make.__name__, bind))) for make in makers)
        client = s3_client(s3)
        for bucket in ("shelver", "dumps"):
            client.make_bucket(bucket)
        for name in ("train.bson", "test.bson", "category_names.csv"):
            client.fput_object("dumps", name, str(SAMPLE / name))
        credentials = credentials_file(s3, folder / "credentials")
        yield Settings(
            home=folder / "home",
            catalog=f"{mongo.url}/shelver",
            queue=f"{redis.url}/0",
            objects="s3://shelver",
            s3=S3Settings(endpoint=s3.url, credentials_file=str(credentials)),
        )


def _towards_the_api_server() -> str:
    asked = ["kubectl", "config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"]
    server = urlsplit(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, 9))  # sends nothing
        return str(probe.getsockname()[0])
