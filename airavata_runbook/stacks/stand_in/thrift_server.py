"""STAND-IN: a server of Thrift calls (binary protocol, buffered: as Airavata's own), and the answers that all have in common."""

import select
import ssl
from functools import partial

import settings
from common import IDLE, NotServed, Refused, Server, log
from thrift.protocol import TBinaryProtocol
from thrift.Thrift import TMessageType
from thrift.transport import TSocket, TTransport


class Answers:
    """The calls of one Thrift service. calls: an object with a method for each call that the stand-in serves.

    failure: makes the exception that the service declares, of a text and the Refused; other exceptions do not reach the client.
    """

    def __init__(self, calls: object, failure) -> None:
        self.calls, self.failure = calls, failure

    def __getattr__(self, name: str):
        call = getattr(self.calls, name, None)

        def answer(*arguments):
            try:
                if call is None:
                    raise NotServed(f"{name} is not implemented")
                return call(*arguments)
            except Refused as error:
                raise self.failure(f"STAND-IN: {error}", error) from None

        return answer


class Version:
    """The one call that every service has."""

    def __init__(self, version: str) -> None:
        self.version = version

    def getAPIVersion(self, *_) -> str:
        return self.version


def answer_version(processor, name: str, version: str) -> None:
    """Let a processor also answer its version to the call by which clients of Airavata 0.16 and 0.17 ask for it."""
    from airavata.base.api.BaseAPI import getAPIVersion_args, getAPIVersion_result

    def process(_, sequence, incoming, outgoing) -> None:
        getAPIVersion_args().read(incoming)  # arguments that it does not know are skipped
        incoming.readMessageEnd()
        outgoing.writeMessageBegin(name, TMessageType.REPLY, sequence)
        getAPIVersion_result(success=version).write(outgoing)
        outgoing.writeMessageEnd()
        outgoing.trans.flush()

    processor._processMap[name] = process


def serve(role: str, found: dict[str, str], processor, secure: bool = False) -> None:
    """Answer the calls at the address that the settings have for this role, until SIGTERM."""
    processor.on_message_begin(lambda name, *_: log(f"call {name}"))
    host, port = settings.address(found, role)
    server = Server((host, port), partial(_answer, processor), secure)
    log(f"{role} at port {port}, {'TLS' if secure else 'plain'}")
    server.run()


def _answer(processor, connection, _, server: Server) -> None:
    """The calls of one client, until it hangs up or the server is to stop."""
    handle = TSocket.TSocket()
    handle.setHandle(connection)
    protocol = TBinaryProtocol.TBinaryProtocol(TTransport.TBufferedTransport(handle))
    try:
        while _has_call(connection, server):
            processor.process(protocol, protocol)
    except (EOFError, TTransport.TTransportException):
        pass  # the client hung up, or was only a probe


def _has_call(connection, server: Server) -> bool:
    """Wait for the next call; False when the server stops without one."""
    while True:
        if isinstance(connection, ssl.SSLSocket) and connection.pending() or select.select([connection], [], [], IDLE)[0]:
            return True
        if server.stopping.is_set():
            return False
