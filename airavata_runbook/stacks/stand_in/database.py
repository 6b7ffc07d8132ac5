"""STAND-IN: its objects in MariaDB, one row each, reached as airavata-server.properties says."""

import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import settings
from common import Refused, log
from thrift.protocol.TJSONProtocol import TJSONProtocolFactory
from thrift.TSerialization import deserialize, serialize

TABLE = "stand_in_object"
EXACT = "COLLATE utf8mb4_bin NOT NULL"
# A key of InnoDB has at most 3072 bytes, of which a character takes 4.
NAMES = f"kind VARCHAR(64) {EXACT}, scope VARCHAR(191) {EXACT}, id VARCHAR(500) {EXACT}"
COLUMNS = f"{NAMES}, object MEDIUMTEXT NOT NULL, PRIMARY KEY (kind, scope, id)"
JSON = TJSONProtocolFactory()
WAIT = 60  # seconds for the database to answer at the start


class NoAnswer(Refused):
    """The database does not answer."""


class Exists(Refused):
    """An object with this id is there."""


class Store:
    """The table of one of Airavata's databases. Each object has a kind, a scope (a gateway's or domain's id, or "") and an id."""

    def __init__(self, found: Mapping[str, str], prefix: str):
        url = urlsplit(found[f"{prefix}.jdbc.url"].removeprefix("jdbc:"))
        self.database = url.path.lstrip("/")
        self.access = {
            "host": url.hostname,
            "port": url.port or 3306,
            "user": found[f"{prefix}.jdbc.user"],
            "password": found[f"{prefix}.jdbc.password"],
            "database": self.database,
            "connect_timeout": 5,
            "autocommit": True,
            "ssl_ca": settings.CA,
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }

    def query(self, statement: str, *values) -> tuple[int, list[tuple]]:
        """The number of rows affected, and the rows. One connection a call: no state is left by a lost database."""
        # pymysql would load it, 8 MiB, for a way to log in that Airavata's user does not have.
        sys.modules.setdefault("cryptography", None)  # type: ignore[arg-type]
        import pymysql  # only in the image

        try:
            with pymysql.connect(**self.access) as connection, connection.cursor() as cursor:
                return cursor.execute(statement, values), list(cursor.fetchall())
        except pymysql.err.IntegrityError:
            raise Exists("one with this id exists") from None
        except pymysql.err.DataError:
            raise Refused("an id is too long") from None
        except pymysql.err.Error as error:
            log(f"database {self.database}: {error}")
            raise NoAnswer("the database does not answer") from None

    def prepare(self) -> None:
        """Create the table; wait for the database for up to a minute."""
        end = time.monotonic() + WAIT
        while True:
            try:
                self.query(f"CREATE TABLE IF NOT EXISTS {TABLE} ({COLUMNS})")
                return
            except NoAnswer:
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def add(self, kind: str, scope: str, name: str, text: str) -> None:
        self.query(f"INSERT INTO {TABLE} VALUES (%s, %s, %s, %s)", kind, scope, name, text)

    def update(self, kind: str, scope: str, name: str, text: str) -> None:
        self.query(f"UPDATE {TABLE} SET object = %s WHERE kind = %s AND scope = %s AND id = %s", text, kind, scope, name)

    def get(self, kind: str, scope: str, name: str) -> str | None:
        _, rows = self.query(f"SELECT object FROM {TABLE} WHERE kind = %s AND scope = %s AND id = %s", kind, scope, name)
        return rows[0][0] if rows else None

    def all(self, kind: str, scope: str) -> dict[str, str]:
        """Id → object, sorted by id."""
        _, rows = self.query(f"SELECT id, object FROM {TABLE} WHERE kind = %s AND scope = %s ORDER BY id", kind, scope)
        return dict(rows)

    def delete(self, kind: str, scope: str, name: str) -> bool:
        return self.query(f"DELETE FROM {TABLE} WHERE kind = %s AND scope = %s AND id = %s", kind, scope, name)[0] == 1


class Objects:
    """The Thrift objects of one class in a store, as JSON. name: what they are called in an answer."""

    def __init__(self, store: Store, model: type, name: str = ""):
        self.store, self.model, self.name = store, model, name or model.__name__.lower()

    def add(self, scope: str, name: str, thing: object) -> str:
        if not name:
            raise Refused(f"a {self.name} needs an id")
        try:
            self.store.add(self.name, scope, name, serialize(thing, JSON).decode())
        except Exists:
            raise Refused(f"a {self.name} with the id {name} exists") from None
        return name

    def update(self, scope: str, name: str, thing: object) -> bool:
        self.get(scope, name)
        self.store.update(self.name, scope, name, serialize(thing, JSON).decode())
        return True

    def find(self, scope: str, name: str) -> object | None:
        text = self.store.get(self.name, scope, name)
        return text and deserialize(self.model(), text.encode(), JSON)

    def get(self, scope: str, name: str) -> object:
        if thing := self.find(scope, name):
            return thing
        raise Refused(f"there is no {self.name} {name}")

    def all(self, scope: str, offset: int = 0, limit: int = -1) -> list[object]:
        """Sorted by id; limit: at most so many, a negative one means all."""
        texts = list(self.store.all(self.name, scope).values())[offset:]
        return [deserialize(self.model(), text.encode(), JSON) for text in (texts if limit < 0 else texts[:limit])]

    def delete(self, scope: str, name: str) -> bool:
        return self.store.delete(self.name, scope, name)
