"""STAND-IN for Apache Airavata's API server and portal. It is no part of Apache Airavata.

Airavata's own servers are in no package registry. A site that names no image of them, such as the lab, runs this one in
their place, so that everything around them is real: TLS, Thrift, the database, replicas, a portal that asks the API.
The Thrift classes are those that the official SDK (airavata-python-sdk) carries, for servers as for clients.

Settings (environment): STAND_IN_ROLE api-server or portal; DATABASE_{HOST,PORT,NAME,USER,PASSWORD} and API_TOKEN for the
first; API_SERVER_{HOST,PORT}, GATEWAY_ID and API_TOKEN for the second. Certificates: /etc/airavata/tls/{tls.crt,tls.key,
ca.crt}. One line is logged for each call, with the method's name and nothing of its content.
"""

import hmac
import os
import select
import signal
import socket
import ssl
import threading
import time

from airavata.api import Airavata
from airavata.api.constants import AIRAVATA_API_VERSION
from airavata.api.error.ttypes import AiravataErrorType, AiravataSystemException, AuthorizationException, InvalidRequestException
from airavata.model.workspace.ttypes import Gateway
from thrift.protocol import TBinaryProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.transport import TSocket, TTransport
from thrift.TSerialization import deserialize, serialize

TLS = os.environ.get("STAND_IN_TLS", "/etc/airavata/tls")
TABLE = "stand_in_gateway"
POD, JSON = socket.gethostname(), TJSONProtocolFactory()
IDLE = 0.2  # seconds after which an idle connection looks whether the server is to stop


def log(text: str) -> None:
    print(f"STAND-IN {POD} {text}", flush=True)


class Store:
    """Gateways in MariaDB, one row each: the id, and the whole Thrift object as JSON."""

    def __init__(self):
        self.settings = {
            "host": os.environ["DATABASE_HOST"],
            "port": int(os.environ["DATABASE_PORT"]),
            "user": os.environ["DATABASE_USER"],
            "password": os.environ["DATABASE_PASSWORD"],
            "database": os.environ["DATABASE_NAME"],
            "connect_timeout": 5,
            "autocommit": True,
            "ssl_ca": f"{TLS}/ca.crt",
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }

    def query(self, statement: str, *values) -> tuple[int, list[tuple]]:
        """How many rows were touched, and the rows. A connection a call: no state that a lost database leaves behind."""
        import pymysql

        try:
            with pymysql.connect(**self.settings) as connection, connection.cursor() as cursor:
                return cursor.execute(statement, values), list(cursor.fetchall())
        except pymysql.err.IntegrityError:
            raise InvalidRequestException("STAND-IN: a gateway with this id exists") from None
        except pymysql.err.Error as error:
            log(f"database: {error}")
            raise AiravataSystemException(AiravataErrorType.INTERNAL_ERROR, "STAND-IN: the database does not answer") from None

    def prepare(self) -> None:
        """Make the table; wait for the database for up to a minute."""
        end = time.monotonic() + 60
        while True:
            try:
                self.query(
                    f"CREATE TABLE IF NOT EXISTS {TABLE} "
                    "(id VARCHAR(255) COLLATE utf8mb4_bin PRIMARY KEY, gateway MEDIUMTEXT NOT NULL)"
                )
                return
            except AiravataSystemException:
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def add(self, gateway: Gateway) -> None:
        self.query(f"INSERT INTO {TABLE} VALUES (%s, %s)", gateway.gatewayId, serialize(gateway, JSON))

    def get(self, gateway_id: str) -> Gateway | None:
        _, rows = self.query(f"SELECT gateway FROM {TABLE} WHERE id = %s", gateway_id)
        return deserialize(Gateway(), rows[0][0].encode(), JSON) if rows else None

    def all(self) -> list[Gateway]:
        _, rows = self.query(f"SELECT gateway FROM {TABLE} ORDER BY id")
        return [deserialize(Gateway(), row[0].encode(), JSON) for row in rows]

    def update(self, gateway_id: str, gateway: Gateway) -> None:
        self.query(f"UPDATE {TABLE} SET gateway = %s WHERE id = %s", serialize(gateway, JSON), gateway_id)

    def delete(self, gateway_id: str) -> bool:
        return bool(self.query(f"DELETE FROM {TABLE} WHERE id = %s", gateway_id)[0])


class Api:
    """The calls of Airavata's API that the stand-in answers; all others say that it does not."""

    def __init__(self, store, token: str):
        self.store, self.token = store, token

    def getAPIVersion(self) -> str:
        return AIRAVATA_API_VERSION

    def isGatewayExist(self, authzToken, gatewayId: str) -> bool:
        self.allow(authzToken)
        return self.store.get(gatewayId) is not None

    def addGateway(self, authzToken, gateway: Gateway) -> str:
        self.allow(authzToken)
        if not gateway.gatewayId:
            raise InvalidRequestException("STAND-IN: a gateway needs a gatewayId")
        self.store.add(gateway)
        return gateway.gatewayId

    def getGateway(self, authzToken, gatewayId: str) -> Gateway:
        self.allow(authzToken)
        return self.known(gatewayId)

    def updateGateway(self, authzToken, gatewayId: str, updatedGateway: Gateway) -> bool:
        self.allow(authzToken)
        self.known(gatewayId)
        self.store.update(gatewayId, updatedGateway)
        return True

    def deleteGateway(self, authzToken, gatewayId: str) -> bool:
        self.allow(authzToken)
        return self.store.delete(gatewayId)

    def getAllGateways(self, authzToken) -> list[Gateway]:
        self.allow(authzToken)
        return self.store.all()

    def __getattr__(self, name: str):
        def unknown(*_):
            raise AiravataSystemException(AiravataErrorType.INTERNAL_ERROR, f"STAND-IN: {name} is not implemented")

        return unknown

    def allow(self, token) -> None:
        if not hmac.compare_digest((token and token.accessToken or "").encode(), self.token.encode()):
            raise AuthorizationException("STAND-IN: this access token is not valid")

    def known(self, gateway_id: str) -> Gateway:
        if gateway := self.store.get(gateway_id):
            return gateway
        raise InvalidRequestException(f"STAND-IN: there is no gateway {gateway_id}")


class ThriftServer:
    """Thrift over TLS, a thread a connection. Once `stopping` is set, what is being asked is answered, then it ends."""

    def __init__(self, api: Api, port: int):
        self.processor = Airavata.Processor(api)
        self.processor.on_message_begin(lambda name, *_: log(f"call {name}"))
        self.context = server_context()
        self.listener = socket.create_server(("", port), backlog=128)
        self.stopping = threading.Event()

    def serve(self) -> None:
        threads: list[threading.Thread] = []
        while True:
            stopping = self.stopping.is_set()  # asked before the look: whoever has connected by then is still answered
            if not select.select([self.listener], [], [], 0 if stopping else IDLE)[0]:
                if stopping:
                    break
            else:
                connection, _ = self.listener.accept()
                threads = [one for one in threads if one.is_alive()] + [threading.Thread(target=self.answer, args=(connection,))]
                threads[-1].start()
        self.listener.close()
        for thread in threads:
            thread.join(5)

    def answer(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(30)
            with self.context.wrap_socket(connection, server_side=True) as secure:
                socket_transport = TSocket.TSocket()
                socket_transport.setHandle(secure)
                transport = TTransport.TBufferedTransport(socket_transport)
                protocol = TBinaryProtocol.TBinaryProtocol(transport)
                while self.asked(secure):
                    self.processor.process(protocol, protocol)
        except (OSError, EOFError, TTransport.TTransportException):
            pass  # the client hung up, or was only a probe; nothing is owed to it

    def asked(self, secure: ssl.SSLSocket) -> bool:
        """Wait for the next call; False when the server stops while nothing is asked."""
        while True:
            if secure.pending() or select.select([secure], [], [], IDLE)[0]:
                return True
            if self.stopping.is_set():
                return False


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{TLS}/tls.crt", f"{TLS}/tls.key")
    return context


def run_api_server() -> None:
    (store := Store()).prepare()
    server = ThriftServer(Api(store, os.environ["API_TOKEN"]), int(os.environ.get("STAND_IN_PORT", "9930")))
    signal.signal(signal.SIGTERM, lambda *_: server.stopping.set())
    log(f"API server, version {AIRAVATA_API_VERSION}, gateways in MariaDB")
    server.serve()


if __name__ == "__main__":
    if os.environ["STAND_IN_ROLE"] == "api-server":
        run_api_server()
    else:
        import portal

        portal.run()
