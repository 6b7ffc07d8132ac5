"""The Thrift clients of the official Airavata SDK, with a transport that trusts the site's certificate authority.

The SDK (airavata-python-sdk 2.2.7) verifies TLS against public authorities only; its client class lets a subclass create the
transport, which is the only difference.
"""

import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from airavata.api import Airavata
from airavata.model.security.ttypes import AuthzToken
from airavata_sdk.transport.utils import ThriftClient
from thrift.Thrift import TException
from thrift.transport import TSSLSocket, TTransport

from airavata_runbook.cluster.memory_file import MemoryFile
from airavata_runbook.errors import StepFailed


class SiteClient(ThriftClient):
    """The SDK's client `client` for host:port, whose certificate must be for `name` and from the authority in the file `ca`.

    ca: None for a server without TLS. of: the name of one of several services on that port.
    """

    def __init__(self, client: Any, host: str, port: int, ca: str | None, name: str, of: str = ""):
        self._ca, self._name = ca, name
        super().__init__(client, host, port, ca is not None, of or None, max_retries=1, retry_delay=0.0)

    def _create_transport(self) -> TTransport.TTransportBase:
        if self._ca is None:
            return super()._create_transport()
        return TTransport.TBufferedTransport(
            TSSLSocket.TSSLSocket(
                self.host,
                self.port,
                cert_reqs=ssl.CERT_REQUIRED,
                ca_certs=self._ca,
                server_hostname=self._name,
                socket_keepalive=True,
            )
        )


def connected(host: str, port: int, ca: bytes, name: str = "") -> AbstractContextManager[Airavata.Client]:
    """The API's client (all calls of airavata.api.Airavata). ca: PEM. name: in its certificate, where that is not `host`.

    Raises as `connected_to`.
    """
    return connected_to("api-server", Airavata.Client, port, ca, host=host, name=name or host)


@contextmanager
def connected_to(
    component: str, client: Any, port: int, ca: bytes | None, of: str = "", host: str = "127.0.0.1", name: str = ""
) -> Iterator[Any]:
    """A client of the SDK for a component's server. client, of: as of SiteClient. ca: PEM; None for a server without TLS.

    name: in its certificate, where that is not the component's. Raises StepFailed when the connection cannot be made, or is lost
    in the block; TException when the server refused a call there.
    """
    file = MemoryFile(ca) if ca else None  # the SDK reads files only
    try:
        made = SiteClient(client, host, port, file.path if file else None, name or component, of)
    except Exception as error:  # the SDK raises plain Exception for every cause
        raise StepFailed(
            f"{component} does not answer the SDK",
            where=f"{host}:{port}",
            found=str(error),
            remedy=f"run again if the SSH connection was lost; else check the logs of {component}'s pods",
            retryable=True,
        ) from None
    try:
        yield made.client
    except (OSError, TTransport.TTransportException) as error:
        raise StepFailed(
            f"the connection to {component} was lost",
            where=f"{host}:{port}",
            found=str(error),
            remedy=f"check the pods of {component}, then run again",
            retryable=True,
        ) from None
    except TException as error:  # of a generated class: nothing can be set in it, and contextlib sets the traceback
        raise TException(f"{type(error).__name__}: {getattr(error, 'message', None) or error}") from None
    finally:
        made.close()


def token(value: str, gateway: str = "") -> AuthzToken:
    """The SDK's authorization token with an access token."""
    return AuthzToken(accessToken=value, claimsMap={"userName": "runbook", "gatewayID": gateway})
