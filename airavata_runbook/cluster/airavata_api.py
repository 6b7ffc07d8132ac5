"""The Thrift client of the official Airavata SDK, with a transport that trusts the site's certificate authority.

The SDK (airavata-python-sdk 2.2.7) verifies TLS against public authorities only; its client class lets a subclass create the
transport, which is the only difference.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from airavata.api import Airavata
from airavata.model.security.ttypes import AuthzToken
from airavata_sdk.transport.utils import ThriftClient
from thrift.transport import TSSLSocket, TTransport

from airavata_runbook.cluster.memory_file import MemoryFile
from airavata_runbook.errors import StepFailed


class SiteClient(ThriftClient):
    """The SDK's client for host:port, whose certificate must be for `name` and from the authority in the file `ca`."""

    def __init__(self, host: str, port: int, ca: str, name: str):
        self._ca, self._name = ca, name
        super().__init__(Airavata.Client, host, port, secure=True, max_retries=1, retry_delay=0.0)

    def _create_transport(self) -> TTransport.TTransportBase:
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


@contextmanager
def connected(host: str, port: int, ca: bytes, name: str = "") -> Iterator[Airavata.Client]:
    """The API's client (all calls of airavata.api.Airavata). ca: PEM. name: in its certificate, where that is not `host`.

    Raises StepFailed when the connection cannot be made, or is lost in the block.
    """
    file = MemoryFile(ca)  # the SDK reads files only
    try:
        client = SiteClient(host, port, file.path, name or host)
    except Exception as error:  # the SDK raises plain Exception for every cause
        raise StepFailed(
            "the Airavata API does not answer the SDK",
            where=f"{host}:{port}",
            found=str(error),
            remedy="run again if the SSH connection was lost; else check the logs of api-server's pods",
            retryable=True,
        ) from None
    try:
        yield client.client
    except (OSError, TTransport.TTransportException) as error:
        raise StepFailed(
            "the connection to the Airavata API was lost",
            where=f"{host}:{port}",
            found=str(error),
            remedy="check the pods of api-server, then run again",
            retryable=True,
        ) from None
    finally:
        client.close()


def token(value: str, gateway: str = "") -> AuthzToken:
    """The SDK's authorization token with an access token."""
    return AuthzToken(accessToken=value, claimsMap={"userName": "runbook", "gatewayID": gateway})
