"""STAND-IN for Airavata's API server: gateways in MariaDB, by Thrift over TLS."""

import hmac
import os
import select
import ssl
import time
from functools import partial

from airavata.api import Airavata
from airavata.api.constants import AIRAVATA_API_VERSION
from airavata.api.error.ttypes import AiravataErrorType, AiravataSystemException, AuthorizationException, InvalidRequestException
from airavata.model.workspace.ttypes import Gateway
from common import IDLE, TLS, Server, log
from thrift.protocol import TBinaryProtocol
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.transport import TSocket, TTransport
from thrift.TSerialization import deserialize, serialize

TABLE = "stand_in_gateway"
COLUMNS = "id VARCHAR(255) COLLATE utf8mb4_bin PRIMARY KEY, gateway MEDIUMTEXT NOT NULL"
JSON = TJSONProtocolFactory()


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
        """The number of rows affected, and the rows. One connection a call: no state is left by a lost database."""
        import pymysql  # only in the image

        try:
            with pymysql.connect(**self.settings) as connection, connection.cursor() as cursor:
                return cursor.execute(statement, values), list(cursor.fetchall())
        except pymysql.err.IntegrityError:
            raise InvalidRequestException("STAND-IN: a gateway with this id exists") from None
        except pymysql.err.Error as error:
            log(f"database: {error}")
            raise AiravataSystemException(AiravataErrorType.INTERNAL_ERROR, "STAND-IN: the database does not answer") from None

    def prepare(self) -> None:
        """Create the table; wait for the database for up to a minute."""
        end = time.monotonic() + 60
        while True:
            try:
                self.query(f"CREATE TABLE IF NOT EXISTS {TABLE} ({COLUMNS})")
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
    """The calls of Airavata's API that the stand-in implements; all others answer that it does not."""

    def __init__(self, store, token: str):
        self.store, self.token = store, token

    def getAPIVersion(self) -> str:
        return AIRAVATA_API_VERSION

    def isGatewayExist(self, authzToken, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.store.get(gatewayId) is not None

    def addGateway(self, authzToken, gateway: Gateway) -> str:
        self.authorize(authzToken)
        if not gateway.gatewayId:
            raise InvalidRequestException("STAND-IN: a gateway needs a gatewayId")
        self.store.add(gateway)
        return gateway.gatewayId

    def getGateway(self, authzToken, gatewayId: str) -> Gateway:
        self.authorize(authzToken)
        return self.existing(gatewayId)

    def updateGateway(self, authzToken, gatewayId: str, updatedGateway: Gateway) -> bool:
        self.authorize(authzToken)
        self.existing(gatewayId)
        self.store.update(gatewayId, updatedGateway)
        return True

    def deleteGateway(self, authzToken, gatewayId: str) -> bool:
        self.authorize(authzToken)
        return self.store.delete(gatewayId)

    def getAllGateways(self, authzToken) -> list[Gateway]:
        self.authorize(authzToken)
        return self.store.all()

    def __getattr__(self, name: str):
        def unknown(*_):
            raise AiravataSystemException(AiravataErrorType.INTERNAL_ERROR, f"STAND-IN: {name} is not implemented")

        return unknown

    def authorize(self, token) -> None:
        if not hmac.compare_digest((token and token.accessToken or "").encode(), self.token.encode()):
            raise AuthorizationException("STAND-IN: this access token is not valid")

    def existing(self, gateway_id: str) -> Gateway:
        if gateway := self.store.get(gateway_id):
            return gateway
        raise InvalidRequestException(f"STAND-IN: there is no gateway {gateway_id}")


def serve(processor: Airavata.Processor, connection: ssl.SSLSocket, _, server: Server) -> None:
    """The calls of one client, until it hangs up or the server is to stop."""
    handle = TSocket.TSocket()
    handle.setHandle(connection)
    protocol = TBinaryProtocol.TBinaryProtocol(TTransport.TBufferedTransport(handle))
    try:
        while has_call(connection, server):
            processor.process(protocol, protocol)
    except (EOFError, TTransport.TTransportException):
        pass  # the client hung up, or was only a probe


def has_call(connection: ssl.SSLSocket, server: Server) -> bool:
    """Wait for the next call; False when the server stops without one."""
    while True:
        if connection.pending() or select.select([connection], [], [], IDLE)[0]:
            return True
        if server.stopping.is_set():
            return False


def run() -> None:
    store = Store()
    store.prepare()
    processor = Airavata.Processor(Api(store, os.environ["API_TOKEN"]))
    processor.on_message_begin(lambda name, *_: log(f"call {name}"))
    server = Server(int(os.environ.get("STAND_IN_PORT", "9930")), partial(serve, processor))
    log(f"API server, version {AIRAVATA_API_VERSION}, gateways in MariaDB")
    server.run()
