"""The cluster's API from this machine: a kubeconfig that can be made again, and a client through an SSH forward.

The official client, and pki, are imported where they are used: each takes a while to load, and most steps ask hosts only.
"""

import json
import os
import threading
from collections.abc import Callable

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.pool import connect
from airavata_runbook.hosts.vault import vault_of
from airavata_runbook.pki.types import Pair
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT, PKI

FIELD_MANAGER = "airavata-runbook"
PATIENCE = 20  # seconds for one answer. An API server whose etcd is gone takes 60, and a look at a chapter's pods asks often.

_clients: dict[str, tuple[tuple[int, bytes], "Kube"]] = {}
_lock = threading.Lock()


class Kube:
    """`core`, `apps` …: the official typed clients; `dynamic`: any kind by its apiVersion."""

    def __init__(self, api):
        from kubernetes import client

        self.api = api
        self.core, self.apps, self.policy = client.CoreV1Api(api), client.AppsV1Api(api), client.PolicyV1Api(api)
        self._dynamic = None

    @property
    def dynamic(self):
        """The client for any kind of object."""
        from kubernetes.dynamic import DynamicClient

        with _lock:  # it asks for all kinds that the cluster knows: once is enough
            if self._dynamic is None:
                self._dynamic = DynamicClient(self.api)
            return self._dynamic

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer that is no object, "/readyz" for example. Raises urllib3's HTTPError."""
        answer = self.api.rest_client.pool_manager.request(
            "GET", self.api.configuration.host + path, timeout=PATIENCE, retries=False
        )
        return answer.status, answer.data.decode(errors="replace")

    def resource(self, manifest: dict):
        """The dynamic resource that serves an object's kind."""
        return self.dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])


def kube(site: Site) -> Kube:
    """A client of the site's API server, as its admin. Raises NotYet when there is no API server yet."""
    vault = vault_of(site)
    with _lock:
        pair, port = _admin(site), connect(site)[site.master.name].forward(API_PORT)
        known = _clients.get(site.name)
        if known is None or known[0] != (port, pair.cert):  # of another forward, or of a cluster that was reset since
            _clients[site.name] = known = (port, pair.cert), Kube(_api(port, vault.authority().cert, pair))
        return known[1]


def _admin(site: Site) -> Pair:
    return vault_of(site).pair(f"{PKI}/admin", "the admin's certificate is issued")


def _api(port: int, authority: bytes, pair: Pair):
    """The official client for an API server behind a local port, with TLS that trusts `authority` alone.

    No request of it waits for ever, which is what the client does by itself.
    """
    from kubernetes import client

    configuration = client.Configuration(host=f"https://127.0.0.1:{port}")
    configuration.proxy = None
    configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file = map(_in_memory, (authority, pair.cert, pair.key))
    configuration.retries = _once_more()
    api = client.ApiClient(configuration)
    api.rest_client.request = _within(PATIENCE, api.rest_client.request)
    return api


def _once_more():
    """Ask again where the connection broke, as it does when SSH was cut; not where nobody answers in time."""
    from urllib3 import Retry
    from urllib3.exceptions import ReadTimeoutError

    class OnceMore(Retry):
        def increment(self, *asked, error=None, **options):
            if isinstance(error, ReadTimeoutError):
                raise error
            return super().increment(*asked, error=error, **options)

    return OnceMore(1)


def _within(seconds: float, request: Callable) -> Callable:
    """The client's `request`, with a time-out where its caller gives none."""

    def bounded(*args, _request_timeout=None, **options):
        return request(*args, _request_timeout=_request_timeout or seconds, **options)

    return bounded


def _in_memory(content: bytes) -> str:
    """The path of a file that this process alone has, and that ends with it (memfd_create(2)).

    The client wants paths. By a kubeconfig it would keep the admin's key in /tmp, for good where its process is killed.
    """
    file = os.memfd_create("airavata-runbook")
    os.write(file, content)
    return f"/proc/self/fd/{file}"


def message(error) -> str:
    """What the API server says in an ApiException."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def explained(error: Exception, site: Site) -> Exception:
    """The API server's own error as a StepFailed that says what it answered; any other error as it is."""
    import urllib3
    from kubernetes.client.exceptions import ApiException

    remedy = f"on {site.master.name}: systemctl status etcd kube-apiserver"
    if isinstance(error, ApiException) and error.status:
        found = message(error)
    elif isinstance(error, (urllib3.exceptions.HTTPError, ApiException)):  # without a status: a stream that did not come about
        # From here an SSH connection that was cut looks the same as a server that hung up.
        reason = getattr(error, "reason", None) or error  # urllib3 wraps what it has tried several times
        found = f"no answer over the connection to it ({_silence(reason)})"
        remedy = f"run again: it goes on where it stopped; if it stays so, {remedy}"
    else:
        return error
    return StepFailed("the API server did not answer as it must", found=found, retryable=True, remedy=remedy)


def _silence(reason: Exception | str) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

    if isinstance(reason, (ConnectTimeoutError, ReadTimeoutError)) and not isinstance(reason, NewConnectionError):  # its kind
        return f"nothing within {PATIENCE} s"
    if "EOF occurred" in str(reason):  # what a port where nobody listens looks like through an SSH forward
        return "closed at once"
    return type(reason).__name__ if isinstance(reason, Exception) else str(reason)
