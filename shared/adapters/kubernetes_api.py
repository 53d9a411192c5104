"""An API server of Kubernetes: single requests, and its errors in Shelver's words.

The client brings configuration, certificates and tokens. Its classes per kind of object are left alone: importing those
of Jobs and pods takes three times as long and 100 MB, and refuses what a newer server adds.
"""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from shared.domain.errors import BadInputError, StoreUnavailableError

_TIMEOUT = (3, 20)  # seconds to connect and without a byte; the server's own limits do not notice a dead link
_PAGE = 500
_MISSING = re.compile(r'cannot (\w+) resource "([\w/]+)"')

Query = Sequence[tuple[str, str]]


class KubernetesApi:
    """The server of the pod's service account, or outside a cluster that of KUBECONFIG."""

    def __init__(self) -> None:
        """Connects to nothing yet. Raises BadInputError where no cluster is configured."""
        configuration = Configuration()
        try:
            config.load_incluster_config(configuration)
        except ConfigException:
            _outside(configuration)
        configuration.retries = 1  # a connection that the server has closed is no outage; an outage is the caller's
        self._client = ApiClient(configuration)
        self._place = f"Kubernetes at {configuration.host}"

    def request(
        self, method: str, path: str, query: Query = (), body: object = None, *, accept: Collection[int] = ()
    ) -> tuple[int, bytes]:
        """Status and content of an answer; errors other than those of `accept` raise StoreUnavailableError."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            request = self._client.param_serialize(
                method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = self._client.call_api(*request, _request_timeout=_TIMEOUT)
            status, content = int(answer.status), bytes(answer.read())
        except HTTPError as error:
            reason = getattr(error, "reason", error)  # of the last try
            raise StoreUnavailableError(f"{self._place} does not answer: {reason}") from error
        if 200 <= status < 300:
            return status, content
        message = said(content)
        if status == 401:
            remedy = "does the service account or the user of KUBECONFIG still exist?"
            raise StoreUnavailableError(f"{self._place} does not know us: {message}; {remedy}")
        if status == 403 and (missing := _MISSING.search(message)):
            remedy = f"add the verb '{missing[1]}' on '{missing[2]}' to the launcher's Role"
            raise StoreUnavailableError(f"{self._place}: {message}; {remedy}")
        if status not in accept:
            raise StoreUnavailableError(f"{self._place} answers {status}: {message}")
        return status, content

    def items(self, path: str, query: Query) -> Iterator[Mapping[str, Any]]:
        """What a list holds, page by page. Raises StoreUnavailableError."""
        following = ""
        while True:
            page: Query = [*query, ("limit", str(_PAGE)), *([("continue", following)] if following else [])]
            listed = json.loads(self.request("GET", path, page)[1])
            yield from listed["items"]
            following = listed["metadata"].get("continue", "")
            if not following:
                return


def said(content: bytes) -> str:
    """The words of an answer that is an error."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, LookupError, TypeError):
        return content[:200].decode(errors="replace") or "nothing more"


def _outside(configuration: Configuration) -> None:
    try:
        # named here, since the client reads KUBECONFIG while it is imported
        config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except ConfigException as error:
        remedy = "run in a pod with a service account, or let KUBECONFIG name a file"
        where = os.environ.get("KUBECONFIG", "KUBECONFIG")
        raise BadInputError(where, str(error), remedy=remedy) from None
