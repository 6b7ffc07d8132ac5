"""STAND-IN for Airavata's credential store: SSH keys and passwords, encrypted in its database.

The key is derived (HKDF) from credential.store.keystore.password. Airavata's own encrypts with the key in the keystore itself,
a format of Java which this does not read: whoever has the stand-in's settings can decrypt what it keeps.
"""

import base64
import os
import time
import uuid

import settings
from airavata.api.credential.store import CredentialStoreService
from airavata.api.credential.store.constants import CS_CPI_VERSION
from airavata.api.credential.store.error.ttypes import CredentialStoreException
from airavata.model.credential.store.ttypes import CredentialSummary, PasswordCredential, SSHCredential, SummaryType
from common import Refused, log
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from database import JSON, Store
from thrift.TSerialization import deserialize, serialize
from thrift_server import Answers, Version, answer_version, serve

PURPOSE = b"airavata-runbook STAND-IN credential store"
MODELS = {SummaryType.SSH: SSHCredential, SummaryType.PASSWD: PasswordCredential}


class Credentials(Version):
    """Calls of CredentialStoreService.Iface. A credential's token is its name, by which it is read again."""

    def __init__(self, store: Store, password: str):
        super().__init__(CS_CPI_VERSION)
        self.store = store
        self.cipher = AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=PURPOSE).derive(password.encode()))

    def addSSHCredential(self, sshCredential: SSHCredential) -> str:
        if not (sshCredential.privateKey and sshCredential.publicKey):
            sshCredential.privateKey, sshCredential.publicKey = new_ssh_key()
        return self.add(SummaryType.SSH, sshCredential)

    def addPasswordCredential(self, passwordCredential: PasswordCredential) -> str:
        return self.add(SummaryType.PASSWD, passwordCredential)

    def getSSHCredential(self, tokenId: str, gatewayId: str) -> SSHCredential:
        return self.get(SummaryType.SSH, gatewayId, tokenId)

    def getPasswordCredential(self, tokenId: str, gatewayId: str) -> PasswordCredential:
        return self.get(SummaryType.PASSWD, gatewayId, tokenId)

    def getCredentialSummary(self, tokenId: str, gatewayId: str) -> CredentialSummary:
        for kind in MODELS:
            if self.store.get(kind.name, gatewayId, tokenId) is not None:
                return summary(kind, self.get(kind, gatewayId, tokenId))
        raise Refused(f"there is no credential {tokenId} in gateway {gatewayId}")

    def getAllCredentialSummaries(self, type: SummaryType, accessibleTokenIds: list[str], gatewayId: str):
        return [one for one in self.getAllCredentialSummaryForGateway(type, gatewayId) if one.token in accessibleTokenIds]

    def getAllCredentialSummaryForGateway(self, type: SummaryType, gatewayId: str) -> list[CredentialSummary]:
        return [summary(type, self.get(type, gatewayId, name)) for name in self.store.all(known(type).name, gatewayId)]

    def getAllCredentialSummaryForUserInGateway(self, type: SummaryType, gatewayId: str, userId: str):
        return [one for one in self.getAllCredentialSummaryForGateway(type, gatewayId) if one.username == userId]

    def getAllPWDCredentialsForGateway(self, gatewayId: str) -> dict[str, str]:
        found = self.getAllCredentialSummaryForGateway(SummaryType.PASSWD, gatewayId)
        return {one.token: one.description or "" for one in found}

    def deleteSSHCredential(self, tokenId: str, gatewayId: str) -> bool:
        return self.store.delete(SummaryType.SSH.name, gatewayId, tokenId)

    def deletePWDCredential(self, tokenId: str, gatewayId: str) -> bool:
        return self.store.delete(SummaryType.PASSWD.name, gatewayId, tokenId)

    def add(self, kind: SummaryType, credential) -> str:
        credential.token, credential.persistedTime = str(uuid.uuid4()), int(time.time() * 1000)
        nonce = os.urandom(12)
        place = f"{kind.name} {credential.gatewayId} {credential.token}".encode()  # a row that is copied elsewhere is refused
        encrypted = nonce + self.cipher.encrypt(nonce, serialize(credential, JSON), place)
        self.store.add(kind.name, credential.gatewayId, credential.token, base64.b64encode(encrypted).decode())
        return credential.token

    def get(self, kind: SummaryType, gateway: str, name: str):
        text = self.store.get(kind.name, gateway, name)
        if text is None:
            raise Refused(f"there is no credential {name} in gateway {gateway}")
        encrypted = base64.b64decode(text)
        try:
            plain = self.cipher.decrypt(encrypted[:12], encrypted[12:], f"{kind.name} {gateway} {name}".encode())
        except InvalidTag:
            raise Refused(f"the credential {name} was encrypted with another credential.store.keystore.password") from None
        return deserialize(MODELS[kind](), plain, JSON)


def known(kind: SummaryType) -> SummaryType:
    if kind in MODELS:
        return SummaryType(kind)
    raise Refused("only SSH keys and passwords are implemented")


def summary(kind: SummaryType, credential) -> CredentialSummary:
    """What may be shown of a credential: no private key, no password."""
    return CredentialSummary(
        type=kind,
        gatewayId=credential.gatewayId,
        username=credential.username if kind == SummaryType.SSH else credential.portalUserName,
        publicKey=credential.publicKey if kind == SummaryType.SSH else None,
        persistedTime=credential.persistedTime,
        token=credential.token,
        description=credential.description,
    )


def new_ssh_key() -> tuple[str, str]:
    """A private and a public key, as ssh-keygen writes them."""
    key = ed25519.Ed25519PrivateKey.generate()
    coded, none = serialization.Encoding, serialization.NoEncryption()
    private = key.private_bytes(coded.PEM, serialization.PrivateFormat.OpenSSH, none)
    return private.decode(), key.public_key().public_bytes(coded.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def run(role: str) -> None:
    found = settings.read(role)
    store = Store(found, settings.CREDENTIALS)
    store.prepare()
    log("credentials are encrypted with a key derived from credential.store.keystore.password, not with the keystore's own")
    credentials = Credentials(store, found["credential.store.keystore.password"])
    processor = CredentialStoreService.Processor(Answers(credentials, lambda text, _: CredentialStoreException(text)))
    answer_version(processor, "getCSServiceVersion", CS_CPI_VERSION)
    serve(role, found, processor)
