"""TLS for requests to a registry that is reached by another address than its name."""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter


class TlsAdapter(HTTPAdapter):
    """TLS with the CAs of a context only. name: that the certificate has to be for; None: the host of each URL."""

    def __init__(self, context: ssl.SSLContext, name: str | None = None, blocksize: int = 16384):
        self._tls: dict[str, Any] = {"ssl_context": context, "blocksize": blocksize}
        if name:
            self._tls["server_hostname"] = name
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, **self._tls)

    def cert_verify(self, conn, url, verify, cert):
        # requests would add the public CAs to the context here.
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None


def context_of(ca: bytes | None) -> ssl.SSLContext:
    """ca: PEM of the only CAs that are trusted; None: the public ones. Raises ValueError, ssl.SSLError."""
    if ca is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca.decode("ascii"))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate can be the trust anchor, as in Go
    return context
