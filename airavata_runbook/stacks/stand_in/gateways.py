"""STAND-IN: where the stand-in keeps gateways, a table of its own in Airavata's MariaDB."""

import json
import ssl
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
from pymysql.constants import CLIENT, ER

# One document a gateway: Airavata's own tables are not for a stand-in to write.
TABLE = """CREATE TABLE IF NOT EXISTS stand_in_gateway (
  gateway_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY,
  document LONGTEXT NOT NULL) COMMENT 'STAND-IN: not a table of Apache Airavata'"""


class Unavailable(Exception):
    """The database gave no answer; the text says why and holds no secret."""


@dataclass(frozen=True)
class MariaDbGateways:
    """Gateways as documents, field → value. ca: what verifies the server. Every method raises Unavailable.

    add is False when there is one of that identifier, which stays; replace and remove are False when there is none.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    ca: Path

    def prepare(self) -> None:
        self._run(TABLE)

    def ping(self) -> None:
        self._run("SELECT 1 FROM stand_in_gateway LIMIT 1")

    def all(self) -> list[dict]:
        return [json.loads(row[0]) for row in self._run("SELECT document FROM stand_in_gateway ORDER BY gateway_id")[1]]

    def get(self, key: str) -> dict | None:
        rows = self._run("SELECT document FROM stand_in_gateway WHERE gateway_id = %s", key)[1]
        return json.loads(rows[0][0]) if rows else None

    def add(self, key: str, document: dict) -> bool:
        return bool(self._run("INSERT INTO stand_in_gateway VALUES (%s, %s)", key, json.dumps(document))[0])

    def replace(self, key: str, document: dict) -> bool:
        return bool(self._run("UPDATE stand_in_gateway SET document = %s WHERE gateway_id = %s", json.dumps(document), key)[0])

    def remove(self, key: str) -> bool:
        return bool(self._run("DELETE FROM stand_in_gateway WHERE gateway_id = %s", key)[0])

    def _run(self, statement: str, *values: str) -> tuple[int, tuple]:
        """How many rows matched, and those read. Every call connects: a database that was restarted is no matter."""
        try:
            with closing(self._connect()) as connection, connection.cursor() as cursor:
                return cursor.execute(statement, values), cursor.fetchall()
        except (pymysql.MySQLError, OSError) as error:
            if isinstance(error, pymysql.IntegrityError) and error.args[0] == ER.DUP_ENTRY:
                return 0, ()
            raise Unavailable(f"{type(error).__name__}: {error}") from error

    def _connect(self) -> pymysql.Connection:
        # FOUND_ROWS: an update that changes nothing has found its row all the same.
        return pymysql.connect(host=self.host, port=self.port, user=self.user, password=self.password, autocommit=True,
                               database=self.database, charset="utf8mb4", client_flag=CLIENT.FOUND_ROWS, connect_timeout=3,
                               read_timeout=5, write_timeout=5, ssl=ssl.create_default_context(cafile=self.ca))
