"""What 06-verify finds of the certificate that a TLS server presents."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

from airavata_runbook.chapters.certificates import Server, server_problem
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Pair, Subject
from tests.unit.ssh_servers import accepting

AUTHORITY, OTHER = pki.new_ca("services"), pki.new_ca("another")
SUBJECT = Subject("portal", dns=("portal",), usages=("server",))
OLD, NEW = pki.issue(AUTHORITY, SUBJECT), pki.issue(AUTHORITY, SUBJECT)
GREETING = b"\x4a\x00\x00\x00\x0a5.5.5-10.11.14-MariaDB\x00"


@contextmanager
def serving(pair: Pair | None, tmp_path, greets: bool = False) -> Iterator[int]:
    """The port of a TLS server with that certificate; without one it closes each connection. greets: as MariaDB does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if pair:
        for name, content in (("cert", pair.cert), ("key", pair.key)):
            (tmp_path / name).write_bytes(content)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    client, _ = listener.accept()
                    with client, suppress(OSError):
                        if greets:
                            client.sendall(GREETING)
                            assert len(client.recv(36)) == 36  # SSLRequest
                        if pair:
                            with context.wrap_socket(client, server_side=True) as tls:
                                tls.recv(1)

        with accepting(listener, serve):
            yield listener.getsockname()[1]


def found(port: int, file: bytes = NEW.cert, name: str = "portal", authority: Pair = AUTHORITY, greets: bool = False) -> str:
    host = SimpleNamespace(
        name="master",
        forward=lambda *where: port,
        run=lambda script: SimpleNamespace(stdout=file if "tls.crt" in script else b""),
    )
    restart = "kubectl rollout restart deployment portal"
    return server_problem(
        Server("portal", host, "127.0.0.1", 8443, name, authority.cert, "/pki/portal-tls.crt", host, restart, greets)
    )


@pytest.mark.parametrize("greets", [False, True])
def test_the_certificate_of_the_file_is_right(tmp_path, greets):
    with serving(NEW, tmp_path, greets) as port:
        assert found(port, greets=greets) == ""


def test_a_server_that_still_presents_the_old_one_is_told_with_the_command_that_mends_it(tmp_path):
    with serving(OLD, tmp_path) as port:
        problem = found(port)
    assert problem.startswith("portal on master: presents a certificate of 20") and "not /pki/portal-tls.crt on master" in problem
    assert problem.endswith(": kubectl rollout restart deployment portal")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "mariadb"}, "Hostname mismatch"),
        ({"authority": OTHER}, "unable to get local issuer certificate"),
        ({"file": b""}, "/pki/portal-tls.crt on master is no certificate"),
    ],
)
def test_what_clients_refuse_is_told(tmp_path, options, problem):
    with serving(NEW, tmp_path) as port:
        assert problem in found(port, **options)


def test_a_server_that_does_not_answer_is_told(tmp_path):
    with serving(None, tmp_path) as port:
        assert "portal on master: no TLS handshake" in found(port)
