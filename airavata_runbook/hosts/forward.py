"""Local port forwarding (`ssh -L`) through an open SSH connection, for clients that need an address to connect to.

A server that forbids forwarding says so when a channel is opened (RFC 4254, section 5.1), which a client behind a forward
cannot be told: it sees a closed connection. So the first channel is opened before there is a client, which then uses it.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from airavata_runbook.hosts.ssh_library import paramiko

CHANNEL_TIMEOUT = 15.0  # seconds
FORBIDDEN = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254)
LOCAL = ("127.0.0.1", 0)  # the origin of a channel without a client


def open_channel(
    transport: paramiko.Transport, target: tuple[str, int], peer: tuple[str, int] = LOCAL
) -> paramiko.Channel | None:
    """A channel to address and port as the host sees them; None when nothing there accepts the connection.

    Raises ChannelException when the server forbids it, and another SSHException when the SSH connection is lost.
    """
    try:
        return transport.open_channel("direct-tcpip", target, peer, timeout=CHANNEL_TIMEOUT)
    except paramiko.ChannelException as error:
        if error.code == FORBIDDEN:
            raise
    except paramiko.SSHException:  # no answer in time
        if not transport.is_active():
            raise
    return None


class Forward:
    """Listens on 127.0.0.1:`port` (a free one) and forwards every connection to address:port as the host sees it.

    transport: gives the open SSH connection. forbidden: whether the server refused the last connection. Raises as `open_channel`.
    """

    def __init__(self, transport: Callable[[], paramiko.Transport], address: str, port: int):
        self._transport, self._target = transport, (address, port)
        self._first = open_channel(transport(), self._target)
        self.forbidden = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._lock, self._closed = threading.Lock(), False
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._acceptor = threading.Thread(target=self._accept, name=f"forward {address}:{port}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, and close the clients' connections."""
        with self._lock:
            self._closed, clients = True, list(self._clients.values())
        # close() alone does not wake a thread in accept() or recv().
        for one in (self._listener, *clients):
            with suppress(OSError):  # already closed
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def join(self) -> None:
        """Wait for the threads to end, after `close` and the end of the SSH connection."""
        with self._lock:
            threads = [self._acceptor, *self._clients]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _take_first(self) -> paramiko.Channel | None:
        """The channel that was opened before there was a client, once, unless its other end has closed it meanwhile."""
        with self._lock:
            first, self._first = self._first, None
        return first if first and not (first.closed or first.eof_received) else None

    def _accept(self) -> None:
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return  # closed
            thread = threading.Thread(target=self._serve, args=(client, peer), daemon=True)
            with self._lock:
                if self._closed:
                    client.close()
                    return
                self._clients[thread] = client
            thread.start()

    def _serve(self, client: socket.socket, peer: tuple[str, int]) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with client:
                self._exchange(client, peer)
        finally:
            with self._lock:
                del self._clients[threading.current_thread()]

    def _exchange(self, client: socket.socket, peer: tuple[str, int]) -> None:
        try:
            channel = self._take_first() or open_channel(self._transport(), self._target, peer)
        except Exception as error:
            self.forbidden = isinstance(error, paramiko.ChannelException)
            return  # the client sees a closed connection, as from a port without a listener
        if channel is None:
            return
        back = threading.Thread(target=_pump, args=(channel.recv, client.sendall, lambda: _end(client)), daemon=True)
        back.start()
        _pump(client.recv, channel.sendall, channel.shutdown_write)
        back.join()
        with suppress(EOFError):  # the SSH connection is closed, and the channel with it
            channel.close()


def _pump(receive: Callable[[int], bytes], send: Callable[[bytes], None], finish: Callable[[], None]) -> None:
    try:
        while data := receive(1 << 16):
            send(data)
    except (OSError, EOFError):
        pass  # either side, and the SSH connection, may be closed at any time
    with suppress(OSError, EOFError):  # already closed
        finish()


def _end(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
