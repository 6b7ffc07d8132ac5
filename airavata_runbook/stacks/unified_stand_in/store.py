"""STAND-IN: gateways, projects and credentials in MariaDB, in tables of its own (schema.sql)."""

import re
import time
from urllib.parse import parse_qs, urlsplit

from server import log

TABLES = ("stand_in_credential", "stand_in_gateway", "stand_in_project")
PATIENCE = 40  # seconds until it gives the database up, as the real server does


class Store:
    """settings: those of Airavata's server. A connection a call: no state is left by a lost database."""

    def __init__(self, settings: dict[str, str]):
        url = urlsplit(settings["spring.datasource.url"].removeprefix("jdbc:"))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.scheme != "mariadb" or not url.path.strip("/"):
            raise ValueError("spring.datasource.url: needed: jdbc:mariadb://HOST:PORT/DATABASE")
        self.settings = {
            "host": url.hostname,
            "port": url.port or 3306,
            "database": url.path.strip("/"),
            "user": settings["spring.datasource.username"],
            "password": settings["spring.datasource.password"],
            "connect_timeout": 5,
            "autocommit": True,
        }
        if query.get("sslMode") == "verify-full":
            self.settings |= {"ssl_ca": query["serverSslCert"], "ssl_verify_cert": True, "ssl_verify_identity": True}

    def query(self, statement: str, *values: object) -> list[tuple]:
        """Its rows. Raises OSError where the database does not answer or refuses."""
        import pymysql  # only in the image

        try:
            with pymysql.connect(**self.settings) as connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return list(cursor.fetchall())
        except pymysql.err.Error as error:
            raise OSError(f"database: {error}") from None

    def validate(self) -> None:
        """As the real server at its start: the tables are there, or it ends. Raises OSError."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = self.query("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
                break
            except OSError as error:
                if time.monotonic() > end:
                    raise
                log(f"waiting for the database: {error}")
                time.sleep(2)
        for table in TABLES:
            if (table,) not in found:
                raise OSError(f"Schema-validation: missing table [{table}]")

    def put(self, kind: str, name: str, gateway: str, content: bytes) -> None:
        self.query(f"INSERT INTO {_table(kind)} VALUES (%s, %s, %s)", name, gateway, content)

    def get(self, kind: str, name: str) -> bytes | None:
        rows = self.query(f"SELECT content FROM {_table(kind)} WHERE id = %s", name)
        return rows[0][0] if rows else None

    def all(self, kind: str, gateway: str = "%") -> list[tuple[str, bytes]]:
        return self.query(f"SELECT id, content FROM {_table(kind)} WHERE gateway_id LIKE %s ORDER BY id", gateway)

    def delete(self, kind: str, name: str) -> None:
        self.query(f"DELETE FROM {_table(kind)} WHERE id = %s", name)


def _table(kind: str) -> str:
    assert re.fullmatch("[a-z]+", kind)
    return f"stand_in_{kind}"
