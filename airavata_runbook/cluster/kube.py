"""A client of the Kubernetes API, through an SSH forward to the API server.

The official client is imported where it is used: it takes a while to load, and most steps use hosts only.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, BinaryIO

from airavata_runbook.errors import StepFailed
from airavata_runbook.pki.types import Pair

FIELD_MANAGER = "airavata-runbook"
TIMEOUT = 20  # seconds for one reply. An API server whose etcd is gone takes 60, and a check of a chapter's pods asks often.


class ApiError(StepFailed):
    """A request to the API server failed. status: its HTTP status, 0 where no reply came."""

    def __init__(self, status: int, found: str, remedy: str):
        super().__init__("the request to the API server failed", found=found, remedy=remedy, retryable=True)
        self.status = status

    @property
    def refused(self) -> bool:
        """Whether the API server is well and refused what it was asked for."""
        return 400 <= self.status < 500


class Kube:
    """`core`, `apps`, `policy`: the official typed clients; `resource`: any kind. All their calls raise ApiError.

    port: of the forward, on 127.0.0.1. authority: PEM of the certificate authority. admin: the client certificate. master:
    the name of the control plane's host, for messages.
    """

    def __init__(self, port: int, authority: bytes, admin: Pair, master: str):
        from kubernetes import client

        self.port, self.admin, self.master = port, admin, master
        self._files = [_in_memory(content) for content in (authority, admin.cert, admin.key)]
        configuration = client.Configuration(host=f"https://127.0.0.1:{port}")
        configuration.proxy = None
        configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file = map(_path, self._files)
        configuration.retries = _retries()
        self.api = client.ApiClient(configuration)
        rest = self.api.rest_client
        vars(rest)["request"] = _with_timeout(rest.request)
        self.core: Any = _Explained(client.CoreV1Api(self.api), self)
        self.apps: Any = _Explained(client.AppsV1Api(self.api), self)
        self.policy: Any = _Explained(client.PolicyV1Api(self.api), self)
        self._dynamic: Any = None
        self._loading = threading.Lock()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a response that is no object, "/readyz" for example."""
        with self.errors():
            response = self.api.rest_client.pool_manager.request(
                "GET", self.api.configuration.host + path, timeout=TIMEOUT, retries=False
            )
        return response.status, response.data.decode(errors="replace")

    def resource(self, manifest: dict) -> Any:
        """The dynamic client of an object's kind. Raises ResourceNotFoundError; use it within `errors`."""
        from kubernetes.dynamic import DynamicClient

        with self._loading:  # it asks for all kinds that the cluster knows: once is enough
            if self._dynamic is None:
                self._dynamic = DynamicClient(self.api)
        return self._dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """The block's errors of the client library as ApiError."""
        import urllib3
        from kubernetes.client.exceptions import ApiException

        remedy = f"on {self.master}: systemctl status etcd kube-apiserver"
        try:
            yield
        except ApiException as error:
            if error.status:
                raise ApiError(error.status, _message(error), remedy) from None
            raise self._no_reply(error.reason, remedy) from None  # a stream that did not come about
        except urllib3.exceptions.HTTPError as error:
            raise self._no_reply(getattr(error, "reason", None) or error, remedy) from None

    def close(self) -> None:
        """Close its connections."""
        self.api.rest_client.pool_manager.clear()

    @staticmethod
    def _no_reply(reason: Exception | str, remedy: str) -> ApiError:
        # From here an SSH connection that was cut looks the same as a server that hung up.
        found = f"no reply over the SSH connection to it ({_cause(reason)})"
        return ApiError(0, found, f"run again: it continues where it stopped; if the error stays, {remedy}")


class _Explained:
    """An official client whose calls raise ApiError."""

    def __init__(self, client: object, kube: Kube):
        self._client, self._kube = client, kube

    def __getattr__(self, name: str) -> Callable:
        method = getattr(self._client, name)

        @wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            with self._kube.errors():
                return method(*args, **options)

        call.__self__ = method.__self__  # type: ignore[attr-defined]  # kubernetes.stream asks a method for its client
        return call


def _retries():
    """Ask again, once, where the connection broke, as it does when SSH was cut; not where no reply came in time."""
    from urllib3 import Retry
    from urllib3.exceptions import ReadTimeoutError

    class Once(Retry):
        def increment(self, method=None, url=None, response=None, error=None, _pool=None, _stacktrace=None):
            if isinstance(error, ReadTimeoutError):
                raise error
            return super().increment(method, url, response, error, _pool, _stacktrace)

    return Once(1)


def _with_timeout(request: Callable) -> Callable:
    """The client's `request`, with a time-out where its caller gives none: by itself it waits for ever."""

    def bounded(*args, _request_timeout=None, **options):
        return request(*args, _request_timeout=_request_timeout or TIMEOUT, **options)

    return bounded


def _in_memory(content: bytes) -> BinaryIO:
    """A file that this process alone has, and that ends with it (memfd_create(2)).

    The client wants paths. By a kubeconfig it would keep the admin's key in /tmp, for good where its process is killed.
    """
    file = os.fdopen(os.memfd_create("airavata-runbook"), "wb")
    file.write(content)
    file.flush()
    return file


def _path(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def _message(error: Any) -> str:
    """What the API server says in an ApiException."""
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _cause(reason: Exception | str) -> str:
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

    if isinstance(reason, (ConnectTimeoutError, ReadTimeoutError)) and not isinstance(reason, NewConnectionError):  # its kind
        return f"nothing within {TIMEOUT} s"
    if "EOF occurred" in str(reason):  # OpenSSL's words for what a port without a listener looks like through an SSH forward
        return "closed at once"
    return type(reason).__name__ if isinstance(reason, Exception) else str(reason)
