"""STAND-IN for Apache Airavata's servers and portal of its 0.16 to 0.18. It is no part of Apache Airavata.

Airavata's own servers are in no package registry. A site that names no image of them, such as the lab, runs this one
instead, so that all around it is real: TLS, Thrift (classes of airavata-python-sdk), database, broker, ZooKeeper, replicas.

STAND_IN_ROLE: one of the roles below. All but the portal read /etc/airavata/settings/airavata-server.properties, as Airavata's
own do, and ca.crt beside it; the portal has API_SERVER_{HOST,PORT} and GATEWAY_ID. A token of a client must be the one in
/etc/airavata/stand-in/api-token. Certificates: /etc/airavata/tls/{tls.crt,tls.key,ca.crt}. Calls are logged by name.
"""

import os
import signal
import sys
from importlib import import_module

from common import Refused, log

# Each role is a module of its own, so that a pod loads what it needs only.
ROLES = {
    "api-server": "api_server",
    "credential-store": "credential_store",
    "gfac": "silent_servers",
    "orchestrator": "silent_servers",
    "portal": "portal",
    "profile-service": "profile_service",
    "registry-server": "silent_servers",
    "sharing-registry": "sharing_registry",
}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has no default for it
    role = os.environ["STAND_IN_ROLE"]
    try:
        import_module(ROLES[role]).run(role)
    except Refused as error:
        log(f"{role} does not start: {error}")
        sys.exit(1)
