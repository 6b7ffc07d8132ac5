"""STAND-IN: the settings of Airavata's server, from the file that Java's options name."""

import os
import re

OPTION = "-Dspring.config.additional-location=file:"
# What the server cannot do without; it has public defaults for some, which are of no use in a cluster.
NEEDED = (
    *("armeria.ports[0].port", "armeria.ssl.key-store", "armeria.ssl.key-store-password"),
    *("spring.datasource.url", "spring.datasource.username", "spring.datasource.password"),
    *("iam.server.url", "airavata.security.openid-url"),
    *("credential.store.keystore.url", "credential.store.keystore.alias", "credential.store.keystore.password"),
)


def read() -> dict[str, str]:
    """Key → value. Raises ValueError naming what is missing."""
    options = os.environ.get("JAVA_TOOL_OPTIONS", "").split()
    path = next((one.removeprefix(OPTION) for one in options if one.startswith(OPTION)), "")
    if not path:
        raise ValueError(f"JAVA_TOOL_OPTIONS has no {OPTION}PATH")
    with open(path, encoding="latin-1") as file:
        found = parse(file.read())
    if missing := [key for key in NEEDED if not found.get(key)]:
        raise ValueError(f"{path}: no value for {', '.join(missing)}")
    config = next((one.partition("=")[2] for one in options if one.startswith("-Dairavata.config.dir=")), ".")
    return found | {"airavata.config.dir": config}


def parse(text: str) -> dict[str, str]:
    """A file of Java properties (java.util.Properties), of lines KEY=VALUE without continuations."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("#", "!"))]
    return {key.strip(): _plain(value.strip(" ")) for key, _, value in (line.partition("=") for line in lines)}


def _plain(value: str) -> str:
    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], value)
