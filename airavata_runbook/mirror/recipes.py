"""What each image of the mirror is made of, as data; `images.py` makes them.

Every service runs as user 10001 (name `airavata`), with a read-only root file system and no capability. What a manifest
has to mount, probe and set is said at each recipe. Secrets and certificates are files, readable for group or user 10001.
"""

from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
# Raise it to roll out newer versions of Debian packages: each image gets another tag and is built from what Debian has then.
DEBIAN = "2026-11"
USER = 10001
JAVA_HOME = "/usr/lib/jvm/java-17-openjdk-amd64"
FILES = Path(__file__).parent / "image_files"
STAND_IN = Path(__file__).parent.parent / "stacks" / "stand_in"
UNIFIED_STAND_IN = Path(__file__).parent.parent / "stacks" / "unified_stand_in"


@dataclass(frozen=True)
class Archive:
    """A tar.gz of Maven Central, unpacked without its first folder to `path`, before the recipe's files.

    artifact: GROUP:NAME:VERSION. command: run in the image at last, as root and without a network.
    """

    artifact: str
    sha256: str
    path: str
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jars:
    """Jars of Maven Central, put into the folder `path`. list: a file with `GROUP:NAME:VERSION sha256` in each line."""

    list: Path
    path: str


@dataclass(frozen=True)
class Recipe:
    """One image: the layers of `parent` and one of its own.

    packages: of Debian. archive, jars: of Maven. trust_store: where Debian's certificates are put as a Java key store. files:
    path in the image → (file or folder on this machine, mode of files). programs: path in the image → (component, binary) of the
    mirror. requirements: a pip file with hashes, installed in `python_path`. folders: made in the image for user 10001, mode
    700: where volumes are mounted. seconds: a cold build without its parents, measured on 2 cores. version: what the table
    shows; None: the version of the package `versioned_by`. released: the components whose official release it has, not a build.
    """

    name: str
    title: str
    seconds: int
    parent: str | None = None
    packages: tuple[str, ...] = ()
    files: tuple[tuple[str, Path, int], ...] = ()
    programs: tuple[tuple[str, str, str], ...] = ()
    folders: tuple[str, ...] = ()
    archive: Archive | None = None
    jars: Jars | None = None
    trust_store: str = ""
    requirements: Path | None = None
    python_path: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: int = USER
    env: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    version: str | None = None
    versioned_by: str = ""
    released: tuple[str, ...] = ()


RECIPES = (
    # Debian without documentation, manual pages and translations. Not deployed by itself.
    Recipe(
        "base", "Debian 12, minimal", seconds=31, packages=("ca-certificates",), command=("/bin/bash",), versioned_by="base-files"
    ),
    # What holds a pod's namespaces; containerd runs it, no manifest does.
    Recipe("pause", "Kubernetes pause container", seconds=2, entrypoint=("/pause",), user=65535, version="3.10"),
    # Arguments: -conf FILE. No writable folder. Ports are those of the Corefile; below 1024 it needs NET_BIND_SERVICE.
    Recipe(
        "coredns",
        "CoreDNS",
        seconds=2,
        programs=(("/coredns", "coredns", "coredns"),),
        entrypoint=("/coredns",),
        user=65534,
        ports=(1053, 8080, 8181),
        version="1.15.0",
    ),
    # `netcheck serve [PORT]` (8080) answers any GET with {"pod", "node", "client", "path"}; pod is POD_NAME or the host
    # name, node is NODE_NAME (give both by the downward API). `netcheck ask URL|NAME|HOST:PORT …` prints one JSON list.
    # No writable folder. Probe: httpGet / on 8080. Also there: curl, getent, python3.
    Recipe(
        "toolbox",
        "Network check of the runbook",
        seconds=8,
        parent="base",
        packages=("python3", "curl"),
        files=(("/usr/local/bin/netcheck", FILES / "toolbox/netcheck", 0o755),),
        entrypoint=("netcheck",),
        command=("serve",),
        ports=(8080,),
        versioned_by="python3.11",
    ),
    # Mounts: /var/lib/mysql (data, kept, writable for 10001), /run/mysqld and /tmp (emptyDir),
    #   /etc/airavata/tls (tls.crt, tls.key, ca.crt), /etc/airavata/secrets (root-password, and USER-password of each user).
    # DATABASES: "DATABASE:USER …", those that there are; without it, those of the stack classic.
    # Also there: mariadb-load, which fills a database once (see the program).
    # Port 3306, TLS only. Probes: tcpSocket 3306 (clients are served when databases and users are there), or
    #   exec mariadb-ready. root (its password: the file) only through /run/mysqld/mysqld.sock.
    # SIGTERM ends it cleanly; allow 60 s. A changed password file counts from the next start. About 150 MiB of memory.
    Recipe(
        "mariadb",
        "MariaDB for Airavata",
        seconds=6,
        parent="base",
        packages=("mariadb-server-core", "mariadb-client"),  # the latter for mariadb-dump
        files=(
            ("/usr/local/bin/mariadb-start", FILES / "mariadb/start", 0o755),
            ("/usr/local/bin/mariadb-ready", FILES / "mariadb/ready", 0o755),
            ("/usr/local/bin/mariadb-load", FILES / "mariadb/load", 0o755),
            ("/etc/airavata/mariadb.cnf", FILES / "mariadb/mariadb.cnf", 0o644),
        ),
        folders=("/var/lib/mysql", "/run/mysqld"),
        entrypoint=("/usr/local/bin/mariadb-start",),
        ports=(3306,),
        versioned_by="mariadb-server-core",
    ),
    # Mounts: /var/lib/rabbitmq (data, kept, writable for 10001), /tmp (emptyDir; /var/log/rabbitmq is not needed),
    #   /etc/airavata/tls (tls.crt, tls.key, ca.crt), /etc/airavata/secrets (password, erlang-cookie).
    # Port 5671, TLS only; no management port. Probes: tcpSocket 5671 (opened last, when vhost and user are there).
    # The node is rabbit@localhost whatever the pod's name is. SIGTERM ends it cleanly; allow 60 s.
    Recipe(
        "rabbitmq",
        "RabbitMQ for Airavata",
        seconds=10,
        parent="toolbox",
        packages=("rabbitmq-server",),
        files=(
            ("/usr/local/bin/rabbitmq-start", FILES / "rabbitmq/start", 0o755),
            ("/etc/airavata/rabbitmq.conf", FILES / "rabbitmq/rabbitmq.conf", 0o644),
            ("/etc/airavata/rabbitmq-env.conf", FILES / "rabbitmq/rabbitmq-env.conf", 0o644),
        ),
        folders=("/var/lib/rabbitmq", "/var/log/rabbitmq"),
        entrypoint=("/usr/local/bin/rabbitmq-start",),
        env=(
            ("HOME", "/var/lib/rabbitmq"),
            ("LANG", "C.UTF-8"),
            ("ERL_EPMD_ADDRESS", "127.0.0.1"),
            ("ERL_CRASH_DUMP_SECONDS", "0"),
            ("RABBITMQ_CONF_ENV_FILE", "/etc/airavata/rabbitmq-env.conf"),
        ),
        ports=(5671,),
        versioned_by="rabbitmq-server",
    ),
    # What a jar of the site is packed on (mirror/jar.py), and the parent of other Java programs. The authorities that Java
    # trusts are Debian's, in the file that it prefers to cacerts.
    Recipe(
        "java",
        "Java 17",
        seconds=16,
        parent="base",
        packages=("openjdk-17-jre-headless",),
        trust_store=f"{JAVA_HOME}/lib/security/jssecacerts",
        entrypoint=("java",),
        command=("-version",),
        env=(("JAVA_HOME", JAVA_HOME), ("LANG", "C.UTF-8")),
        versioned_by="openjdk-17-jre-headless",
    ),
    # Mounts: /var/lib/zookeeper (data, kept, writable for 10001), /tmp (emptyDir).
    # Port 2181, plain: the ZooKeeper client of Airavata's own servers of that time knows no TLS. Keep it
    # within the cluster. Probes: tcpSocket 2181, or exec zookeeper-ready (asks "srvr"). JAVA_TOOL_OPTIONS is heeded.
    Recipe(
        "zookeeper",
        "ZooKeeper for Airavata",
        seconds=9,
        parent="java",
        packages=("libzookeeper-java",),
        files=(
            ("/usr/local/bin/zookeeper-start", FILES / "zookeeper/start", 0o755),
            ("/usr/local/bin/zookeeper-ready", FILES / "zookeeper/ready", 0o755),
            ("/etc/airavata/zookeeper/zoo.cfg", FILES / "zookeeper/zoo.cfg", 0o644),
        ),
        folders=("/var/lib/zookeeper",),
        entrypoint=("/usr/local/bin/zookeeper-start",),
        ports=(2181,),
        versioned_by="libzookeeper-java",
    ),
    # Mounts: /var/lib/kafka (data, kept, writable for 10001), /tmp (emptyDir), /etc/airavata/tls (tls.crt, tls.key, ca.crt),
    #   /etc/airavata/secrets (password). TOPIC_PREFIX: clients of 9092 write to topics that begin with it and `_`. Within the pod
    #   the name `kafka`, by which clients reach it, is 127.0.0.1 (hostAliases): it calls itself before its Service leads to it.
    # Ports: 9092, plain, to write only, for the Kafka client of Airavata's own servers of that time (0.8.2) knows neither TLS nor
    #   passwords; 9093, TLS, for the user airavata, who may do all. Keep both within the cluster. Kafka 4 refuses that client.
    # Probes: exec kafka-ready for its start, then tcpSocket 9092. SIGTERM ends it cleanly; allow 60 s.
    # kafka-round-trip TOPIC: what 06-verify runs.
    Recipe(
        "kafka",
        "Kafka for Airavata",
        seconds=13,
        parent="java",
        jars=Jars(FILES / "kafka/jars.txt", "/opt/kafka"),
        files=(
            ("/usr/local/bin/kafka-start", FILES / "kafka/start", 0o755),
            ("/usr/local/bin/kafka-ready", FILES / "kafka/ready", 0o755),
            ("/usr/local/bin/kafka-tool", FILES / "kafka/tool", 0o755),
            ("/usr/local/bin/kafka-round-trip", FILES / "kafka/round-trip", 0o755),
            ("/etc/airavata/kafka/server.properties", FILES / "kafka/server.properties", 0o644),
            ("/etc/airavata/kafka/log4j.properties", FILES / "kafka/log4j.properties", 0o644),
        ),
        folders=("/var/lib/kafka",),
        entrypoint=("/usr/local/bin/kafka-start",),
        ports=(9092, 9093),
        version="3.9.2",
    ),
    # Mounts: /opt/keycloak/data and /tmp (emptyDir), /etc/airavata/secrets (db-password; for the first start admin-password,
    #   of the user KC_BOOTSTRAP_ADMIN_USERNAME). A realm to import once: /opt/keycloak/data/import, and --import-realm as an
    #   argument. Environment (keycloak.org/server/all-config): KC_DB_URL=jdbc:mariadb:…, KC_DB_USERNAME, KC_HOSTNAME,
    #   KC_HTTPS_CERTIFICATE_FILE and KC_HTTPS_CERTIFICATE_KEY_FILE, or KC_HTTP_ENABLED.
    # Ports: 8080 or 8443, and 9000 with GET /health/ready. Heap: 70 % of the container's memory limit.
    # Fixed when it is built: the database, health, and caches for one replica that no other joins.
    Recipe(
        "keycloak",
        "Keycloak for Airavata",
        seconds=40,
        parent="java",
        archive=Archive(
            "org.keycloak:keycloak-quarkus-dist:26.7.3",
            "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47",
            "/opt/keycloak",
            ("/opt/keycloak/bin/kc.sh", "build", "--db=mariadb", "--health-enabled=true", "--cache=local"),
        ),
        files=(("/usr/local/bin/keycloak-start", FILES / "keycloak/start", 0o755),),
        folders=("/opt/keycloak/data",),
        entrypoint=("/usr/local/bin/keycloak-start",),
        ports=(8080, 8443, 9000),
        env=(("KC_RUN_IN_CONTAINER", "true"),),
        version="26.7.3",
    ),
    # Mount: /etc/airavata/haproxy/haproxy.cfg. Needs no writable folder.
    Recipe(
        "haproxy",
        "HAProxy for Airavata's Keycloak",
        seconds=5,
        parent="base",
        packages=("haproxy",),
        entrypoint=("haproxy", "-db", "-f", "/etc/airavata/haproxy/haproxy.cfg"),
        ports=(8443,),
        versioned_by="haproxy",
    ),
    # `airavata-setup realm` and `airavata-setup gateway`, for Jobs: see the program. No writable folder.
    Recipe(
        "airavata-setup",
        "Set-up of Airavata's realm and gateway",
        seconds=2,
        parent="toolbox",
        files=(("/usr/local/bin/airavata-setup", FILES / "airavata-setup/setup", 0o755),),
        entrypoint=("airavata-setup",),
        env=(("PYTHONDONTWRITEBYTECODE", "1"),),
        version="1",
    ),
    # Settings and certificates: those of Airavata's own server, see stacks/unified/airavata-server. No writable folder.
    Recipe(
        "unified-stand-in",
        "STAND-IN for Airavata's unified server: no part of Apache Airavata",
        seconds=12,
        parent="toolbox",
        packages=("python3-cryptography", "python3-jwt", "python3-pymysql"),
        files=(("/opt/unified-stand-in", UNIFIED_STAND_IN, 0o644),),
        entrypoint=("python3", "/opt/unified-stand-in/main.py"),
        ports=(9090,),
        env=(("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")),
        labels=(("org.apache.airavata.runbook.stand-in", "STAND-IN"),),
        version="0.21",
    ),
    # STAND_IN_ROLE and the other variables are those of stacks/stand_in/main.py. No writable folder.
    Recipe(
        "stand-in",
        "STAND-IN for Airavata's servers and portal: no part of Apache Airavata",
        seconds=30,
        parent="toolbox",
        packages=("python3-cryptography",),
        files=(("/opt/stand-in", STAND_IN, 0o644),),
        requirements=FILES / "stand-in/requirements.txt",
        python_path="/opt/stand-in-packages",
        entrypoint=("python3", "/opt/stand-in/main.py"),
        ports=(7878, 8443, 8940, 8950, 8960, 8962, 8970, 9930),
        env=(("PYTHONPATH", "/opt/stand-in-packages"), ("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")),
        labels=(("org.apache.airavata.runbook.stand-in", "STAND-IN"),),
        version="2.2.7",
    ),
)

# Of some sites only, and large to download: built when a site is to run that needs it, not by `airavata-runbook mirror`.
ON_DEMAND = ("kafka", "keycloak")

BY_NAME = {recipe.name: recipe for recipe in RECIPES}
