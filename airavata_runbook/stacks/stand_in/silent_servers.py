"""STAND-IN for the orchestrator, GFac and the registry server, of which the SDK has no class: they answer their version only.

Around them all is real: databases, broker and ZooKeeper are reached by the settings and with the passwords of the one file, and
their connections are held, so that what is wrong with these is seen.
"""

import ssl
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import settings
from airavata.base.api import BaseAPI
from common import POD, Refused, log
from database import WAIT, Store
from thrift_server import Answers, Version, answer_version, serve

VERSION = "0.18.0"  # as the other services have it in the SDK
# The call by which clients of 0.17 ask for the version (thrift-interface-descriptions/component-cpis).
OLDER = {"orchestrator": "getOrchestratorCPIVersion", "gfac": "getGFACServiceVersion"}
# The exchange that each gets its work from: the key of its name, and its default.
EXCHANGES = {
    "orchestrator": ("rabbitmq.experiment.exchange.name", "experiment_exchange"),
    "gfac": ("rabbitmq.process.exchange.name", "process_exchange"),
}


def run(role: str) -> None:
    found = settings.read(role)
    if role == "registry-server":
        for prefix in (settings.REGISTRY, settings.APPLICATIONS, settings.REPLICAS, settings.WORKFLOWS):
            Store(found, prefix).prepare()
    else:
        held = threading.Event()
        threading.Thread(target=hold_broker, args=(role, found, held), daemon=True).start()
        hold_zookeeper(role, found)
        if not held.wait(WAIT):
            raise Refused(f"the broker did not answer at rabbitmq.broker.url within {WAIT} s")
    processor = BaseAPI.Processor(Answers(Version(VERSION), lambda text, _: Refused(text)))
    if role in OLDER:
        answer_version(processor, OLDER[role], VERSION)
    serve(role, found, processor)


def hold_broker(role: str, found: Mapping[str, str], held: threading.Event) -> None:
    """Have the role's exchange in RabbitMQ, and stay connected; a lost connection is made again. held: set once that is so.

    The exchange is declared as Airavata's own servers declare it. There is no queue: nobody would take from it.
    """
    import pika

    access = pika.URLParameters(found["rabbitmq.broker.url"])
    if access.ssl_options:
        context = ssl.create_default_context(cafile=settings.CA)
        access.ssl_options = pika.SSLOptions(context, urlsplit(found["rabbitmq.broker.url"]).hostname)
    exchange = found.get(*EXCHANGES[role])
    while True:
        try:
            with pika.BlockingConnection(access) as connection:
                connection.channel().exchange_declare(exchange, exchange_type="topic", durable=True)
                log(f"broker: connected, exchange {exchange}")
                held.set()
                while True:
                    connection.process_data_events(time_limit=1)
        except (pika.exceptions.AMQPError, OSError) as error:  # an error of RabbitMQ's has no password in it
            log(f"broker: {type(error).__name__}")
            time.sleep(2)


def hold_zookeeper(role: str, found: Mapping[str, str]) -> None:
    """An entry of this pod in ZooKeeper that lasts as long as it runs; kazoo connects again by itself. Raises Refused."""
    from kazoo.client import KazooClient, KazooState
    from kazoo.exceptions import KazooException, NodeExistsError
    from kazoo.handlers.threading import KazooTimeoutError

    where = found["zookeeper.server.connection"]
    client = KazooClient(where, timeout=int(found.get("zookeeper.timeout", "30000")) / 1000)
    path = f"/stand-in/{role}/{POD}"

    def enter() -> None:
        try:
            client.create(path, ephemeral=True, makepath=True)
        except NodeExistsError:
            pass  # it outlived a short interruption
        except KazooException as error:
            log(f"zookeeper: {type(error).__name__}")

    def changed(state: str) -> None:
        log(f"zookeeper: {state.lower()}")
        if state == KazooState.CONNECTED:  # a listener must not wait for an answer itself
            client.handler.spawn(enter)

    client.add_listener(changed)
    try:
        client.start(timeout=WAIT)
    except KazooTimeoutError:
        raise Refused(f"ZooKeeper did not answer at {where} within {WAIT} s") from None
