"""STAND-IN for Apache Airavata's unified server: its outer face, where a site has no jar of it. It is no part of Airavata.

All around it is real: TLS, MariaDB, Keycloak and its tokens, the keystore. It takes the same settings from the same files, and
checks its tables when it starts; it answers the REST calls that set-up and verification make, and no others. No gRPC. Every
response says STAND-IN in the header X-Airavata-Runbook, every line of the log begins with it.
"""

import sys

import settings
from api import Api
from keystore import server_context
from server import Server, log
from store import Store
from tokens import Keycloak


def main() -> None:
    found = settings.read()
    store = Store(found)
    store.validate()
    context = server_context(found["armeria.ssl.key-store"], found["armeria.ssl.key-store-password"])
    api = Api(found, store, Keycloak(found["iam.server.url"], found["airavata.security.openid-url"].partition("/realms/")[0]))
    server = Server(int(found["armeria.ports[0].port"]), context, api)
    log("started: this is not Apache Airavata's own server, it answers in its place")
    server.run()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"STAND-IN: {type(error).__name__}: {error}")
