"""What the release of the tests is made of: its images, and values for a chart with external stores.

TEST_CLUSTER_REGISTRY is what stands before the names of the images (`localhost/`, `registry.example.com/shop/`).
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from shared.settings import Settings
from tests.cluster.namespace import Json

_SMALL = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
_COMPUTING = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "4Gi"}}


def images(chart: Path) -> dict[str, str]:
    """Those of a chart's version."""
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["appVersion"]
    registry = os.environ.get("TEST_CLUSTER_REGISTRY", "")
    return {name: f"{registry}shelver-{name}:{version}" for name in ("service", "worker")}


def values(chart: Path, stores: Settings) -> Json:
    """Values for a chart and the images of its version; `stores` as the settings of an installation."""
    s3, ports = stores.s3, [urlsplit(url).port for url in (stores.catalog, stores.queue)]
    objects = {"secret": "bucket", "place": stores.objects, "endpoint": s3.endpoint}
    return {
        "images": images(chart),
        "external": {
            "catalog": {"secret": "stores", "port": ports[0]},
            "queue": {"secret": "stores", "port": ports[1]},
            "objects": objects | {"port": urlsplit(s3.endpoint).port},
        },
        "gateway": {
            "adminKey": {"secret": "first-key"},
            "replicas": {"min": 2, "max": 2},
            "resources": _SMALL,
        },
        "dispatcher": {"resources": _SMALL},
        "launcher": {"resources": _SMALL},
        "worker": {"replicas": 2, "gpu": {"count": 0}, "resources": _COMPUTING},
        "jobs": {
            "training": {"gpu": {"count": 0}, "sharedMemory": "256Mi", "resources": _COMPUTING},
            "ingest": {"resources": _SMALL},
        },
        "settings": {
            "gateway": {"source_prefixes": "s3://dumps/"},
            "launcher": {"poll_seconds": 1},
            "leases": {"lease_seconds": 10},
            "training": {"checkpoint_seconds": 1},
        },
    }
