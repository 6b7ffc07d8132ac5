"""STAND-IN: what all of its servers share."""

import os
import select
import signal
import socketserver
import ssl
import sys
import threading

TLS = os.environ.get("STAND_IN_TLS", "/etc/airavata/tls")
TOKEN = os.environ.get("STAND_IN_TOKEN", "/etc/airavata/stand-in/api-token")
POD = os.uname().nodename
IDLE = 0.2  # seconds between two looks at whether the server is to stop


class Refused(Exception):
    """A call, or a start, that is refused; the text is for the one who called or deployed it."""


class NotServed(Refused):
    """A call that Airavata's own server has and the stand-in has not."""


def log(text: str) -> None:
    print(f"STAND-IN {POD} {text}", flush=True)


def api_token() -> str:
    """The access token that calls need, in the place of an identity server's. It is a file, not in the environment."""
    with open(TOKEN, encoding="utf-8") as file:
        return file.read().strip()


class Server(socketserver.ThreadingTCPServer):
    """A thread a connection. After SIGTERM (`stopping`) whoever has connected is still answered, then it ends."""

    allow_reuse_address, request_queue_size, timeout = True, 128, IDLE

    def __init__(self, address: tuple[str, int], handler, secure: bool) -> None:
        self.stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())
        try:
            super().__init__(address, handler)
        except OSError as error:
            raise Refused(f"cannot listen at {address[0]}:{address[1]}: {error.strerror or error}") from None
        if secure:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(f"{TLS}/tls.crt", f"{TLS}/tls.key")
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def run(self) -> None:
        while not self.stopping.is_set() or select.select([self], [], [], 0)[0]:
            self.handle_request()
        self.server_close()  # waits for the threads

    def finish_request(self, request, client_address) -> None:
        request.settimeout(30)  # seconds; a silent client does not hold a thread, nor keep others from being accepted
        if isinstance(request, ssl.SSLSocket):
            request.do_handshake()
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(error := sys.exception(), OSError):  # else a probe, or a client that hung up
            log(f"connection: {type(error).__name__}")
