"""The keystores that a stack names, made of the site's keys, certificates and passwords: always the same of the same ones."""

import base64
import binascii
from collections.abc import Callable

from airavata_runbook.errors import StepFailed
from airavata_runbook.pki import keystore
from airavata_runbook.pki.types import Pair
from airavata_runbook.site.stack_file import Keystore
from airavata_runbook.wellknown import SECRETS

KEY_LENGTH = 32  # bytes; AES-256
SECRET_ALIAS, SERVER_ALIAS = "airavata", "server"


def content(one: Keystore, value: Callable[[str], str], secret: Callable[[str, str], str], pair: Callable[[str], Pair]) -> bytes:
    """A keystore's bytes. value: of a reference for the vault. secret: of a Secret and its key. pair: of a component's server,
    or of an authority. All may raise; StepFailed for a damaged key.
    """
    if one.authority:
        return keystore.trust_store(pair(one.authority).cert)
    name, _, key = one.password.partition("/")
    password = secret(name, key)
    if one.certificate:
        served = pair(one.certificate)
        return keystore.server_store(served.cert, served.key, SERVER_ALIAS, password)
    return keystore.secret_key_store(_key(one.secret_key or "", value), SECRET_ALIAS, password)


def _key(name: str, value: Callable[[str], str]) -> bytes:
    try:
        key = base64.urlsafe_b64decode(value(f"generated:{name}"))
    except binascii.Error:
        key = b""
    if len(key) != KEY_LENGTH:
        raise StepFailed(
            "the key of a keystore is damaged",
            where=f"{SECRETS}/{name} on the master",
            found=f"{len(key)} bytes" if key else "no base64",
            needed=f"{KEY_LENGTH} bytes in base64",
            remedy="restore it from a backup: what was encrypted with it can be read with no other",
        )
    return key
