"""STAND-IN for Apache Airavata's API server and portal. It is no part of Apache Airavata.

Airavata's own servers are in no package registry. A site that names no image of them, such as the lab, runs this one
instead, so that all around it is real: TLS, Thrift (classes of airavata-python-sdk), the database, replicas.

Settings (environment): STAND_IN_ROLE and API_TOKEN; for the role api-server DATABASE_{HOST,PORT,NAME,USER,PASSWORD}, for
portal API_SERVER_{HOST,PORT} and GATEWAY_ID. Certificates: /etc/airavata/tls/{tls.crt,tls.key,ca.crt}. Calls are logged by name.
"""

import os

import api_server
import portal

ROLES = {"api-server": api_server.run, "portal": portal.run}

if __name__ == "__main__":
    ROLES[os.environ["STAND_IN_ROLE"]]()
