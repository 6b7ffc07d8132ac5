"""What a site file refers to on this machine: SSH keys, certificates, images and secrets, checked before anything is changed.

No host is contacted: secrets that are generated on the master are not read here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airavata_runbook.checks.realm import realm_notes, realm_problems
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import RunbookError, SiteError
from airavata_runbook.hosts import vault
from airavata_runbook.hosts.ssh_library import paramiko
from airavata_runbook.hosts.user_keys import agent_keys, private_key
from airavata_runbook.images import source as images
from airavata_runbook.images.reference import Reference
from airavata_runbook.local import paths
from airavata_runbook.local.files import read_regular
from airavata_runbook.mirror import jar
from airavata_runbook.pki import formats, pem
from airavata_runbook.pki.chain import bundle, check_chain
from airavata_runbook.pki.htpasswd import htpasswd_entry
from airavata_runbook.pki.problem import Problem
from airavata_runbook.site import Site
from airavata_runbook.site.node import Ssh
from airavata_runbook.site.parts import Certificate, ImageSource
from airavata_runbook.site.stack_file import file_names

PARALLEL = 8  # registries contacted at a time
IDENTITY_CA = "airavata.identity_server.ca"
LARGEST = 16 << 20  # bytes of a file that is read whole
LARGEST_INPUT = 1_000_000  # bytes of a file for pods; an object of Kubernetes holds 1 MiB in all (Secret documentation)


@dataclass(frozen=True)
class CheckedReference:
    """field: of the site file. target: what it refers to. state: in words. problem: "" when it is usable.

    needed, remedy: of a problem, where more is known than that it has to be corrected. note: its state is worth a word.
    """

    field: str
    target: str
    state: str
    problem: str = ""
    needed: str = ""
    remedy: str = ""
    note: bool = False


def check_references(site: Site, registries: bool = False) -> Iterator[CheckedReference]:
    """Everything that the site file refers to, checked. No value of a secret is in the result.

    registries: also look up the images that are pulled in their registries, in parallel.
    """
    yield from _ssh_files(site)
    # The cost (rounds) of the hash does not matter: it is discarded.
    user = site.registry.user
    yield _secret(site, "registry.password", site.registry.password, lambda value: htpasswd_entry(user, value, rounds=4))
    for name, reference in site.airavata.secrets.items():
        field = f"airavata.secrets.{name}"
        if name in file_names(site.airavata):
            yield _checked(field, reference, "found", session_of(site).vault.content, reference)
        else:
            yield _secret(site, field, reference)
    if site.proxy and site.proxy.auth:
        yield _secret(site, "proxy.auth", site.proxy.auth)
    if site.registry.certificate:
        yield from _certificate(site, site.registry.certificate)
    yield from _unified(site)
    if identity := site.airavata.identity_server:
        yield _checked(IDENTITY_CA, identity.ca, "certificates", authorities, identity.ca, IDENTITY_CA)
    own = site.airavata.sources
    with ThreadPoolExecutor(PARALLEL) as pool:
        for checked in pool.map(lambda name, source: _image(site, name, source, registries), own, own.values()):
            yield from checked


def _unified(site: Site) -> Iterator[CheckedReference]:
    """The files of the stack unified: the realm, which is looked into, and SQL."""
    own = site.airavata.unified
    if own.realm:
        yield from _realm("airavata.unified.realm", own.realm, site.airavata.gateway)
    for name in ("schema_sql", "seed_sql"):
        if path := getattr(own, name):
            yield _checked(f"airavata.unified.{name}", path, "found", read_input, path, f"airavata.unified.{name}")


def _realm(field: str, path: str, gateway: str) -> Iterator[CheckedReference]:
    usable = _checked(field, path, "can be imported", lambda: check_realm(read_input(path, field), gateway, path))
    yield usable
    for line in realm_notes(read_file(path, field)) if not usable.problem else ():
        needed = "a file that nobody else has read, never one that was published"
        remedy = "leave them out: Keycloak makes its own keys and secrets; users get new passwords"
        yield CheckedReference(field, path, line, needed=needed, remedy=remedy, note=True)


def check_realm(content: bytes, gateway: str, path: str) -> None:
    """Raises SiteError with all that is wrong with a realm file."""
    if problems := realm_problems(content, gateway):
        raise SiteError("Keycloak cannot import the realm, or Airavata not use it", where=path, found="; ".join(problems))


def registry_certificate(site: Site, own: Certificate) -> tuple[bytes, bytes]:
    """The admin's own certificate for the registry with its chain, and its key (POC row 10). Raises SiteError.

    Both are PEM without anything else: a byte order mark, indentation or an older label, for which Go's TLS would skip a
    block, stay on this machine.
    """
    chain, key = _with_chain(own), _key(site, own)
    if problems := check_chain(chain, key, site.registry.name):
        raise _invalid(f"registry.certificate, {_files(own)}", problems)
    return chain, key


def trusted_certificates(own: Certificate) -> bytes:
    """The certificates by which clients verify the admin's own: its chain, else those in its file. Raises SiteError."""
    return _with_chain(own.model_copy(update={"certificate": own.chain, "chain": None}) if own.chain else own)


def authorities(path: str, field: str) -> bytes:
    """The certificates in the file that a field of the site file names, as PEM and nothing else. Raises SiteError."""
    content = read_file(path, field)
    if problems := formats.certificate_file_problems(content, path):
        found = "; ".join(map(str, problems))
        raise SiteError("invalid certificates of authorities", where=field, found=f"{path}: {found}")
    return pem.certificates(content)


def read_file(path: str, field: str) -> bytes:
    """A file that a field of the site file names. Raises SiteError."""
    try:
        return read_regular(paths.resolve_path(path), LARGEST)
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise SiteError("a file that the site file names is unreadable", where=field, found=str(error)) from None


def read_input(path: str, field: str) -> bytes:
    """As `read_file`, of a file that pods get in a Secret."""
    content = read_file(path, field)
    if len(content) > LARGEST_INPUT:
        raise SiteError(
            "a file is too large for a Secret",
            where=field,
            found=f"{len(content)} bytes",
            needed=f"at most {LARGEST_INPUT}",
            remedy="leave out rows that the server starts without, and load them by its API, or into the database, after the run",
        )
    return content


def _with_chain(own: Certificate) -> bytes:
    return bundle(
        _certificates(own.certificate, "registry.certificate.certificate"),
        _certificates(own.chain, "registry.certificate.chain") if own.chain else b"",
    )


def _certificates(path: str, field: str) -> bytes:
    content = read_file(path, field)
    if problems := formats.certificate_file_problems(content, path):
        raise _invalid(field, problems, path)
    return pem.certificates(content)


def _key(site: Site, own: Certificate) -> bytes:
    kind, _, name = own.key.partition(":")
    field = "registry.certificate.key"
    try:
        content = session_of(site).vault.secret(own.key).encode()
    except SiteError:
        if kind == "file" and (problems := formats.key_file_problems(read_file(name, field), name)):
            raise _invalid(field, problems, name) from None  # it is not text
        raise
    if problems := formats.key_file_problems(content, name if kind == "file" else "FILE"):
        raise _invalid(field, problems, own.key)
    return pem.key(content)


def _invalid(where: str, problems: Iterable[Problem], file: str = "") -> SiteError:
    found = "; ".join(map(str, problems))
    return SiteError("invalid certificate of the registry", where=where, found=f"{file}: {found}" if file else found)


def _files(own: Certificate) -> str:
    return " and ".join(filter(None, (own.certificate, own.chain)))


def _ssh_files(site: Site) -> Iterator[CheckedReference]:
    """Keys, their passphrases and known_hosts of the site, and of each node that has others."""
    if site.lab:
        return  # `lab up` makes its own
    with agent_keys() as keys:
        for field, ssh, shared in [
            ("ssh", site.ssh, Ssh()),
            *((f"nodes.{one.name}.ssh", one.ssh, site.ssh) for one in site.nodes),
        ]:
            if ssh.key and (ssh.key, ssh.passphrase) != (shared.key, shared.passphrase):
                yield from _private_key(site, field, ssh, keys)
            if ssh.known_hosts and ssh.known_hosts != shared.known_hosts:
                yield _checked(
                    f"{field}.known_hosts", ssh.known_hosts, "found", read_file, ssh.known_hosts, f"{field}.known_hosts"
                )


def _private_key(site: Site, field: str, ssh: Ssh, agent: Sequence[paramiko.PKey]) -> Iterator[CheckedReference]:
    """The key of ssh.key, decrypted unless its passphrase would have to be typed in now."""
    secret = _secret(site, f"{field}.passphrase", ssh.passphrase) if ssh.passphrase else None
    if secret:
        yield secret
    if secret and (secret.problem or _kind(secret.target) == "prompt"):
        yield _checked(f"{field}.key", ssh.key or "", "found", read_file, ssh.key, f"{field}.key")
    else:
        path = paths.resolve_path(ssh.key or "")
        yield _checked(f"{field}.key", ssh.key or "", "usable", private_key, path, ssh, f"{field}.key", agent)


def _certificate(site: Site, own: Certificate) -> Iterator[CheckedReference]:
    field = "registry.certificate"
    if _kind(own.key) != "prompt":  # else the key would have to be typed in now
        yield _checked(field, _files(own), "valid: chain, dates and key", registry_certificate, site, own)
    else:
        yield _checked(field, _files(own), "found", _with_chain, own)
        yield _secret(site, f"{field}.key", own.key)


def _image(site: Site, name: str, source: ImageSource, registries: bool) -> list[CheckedReference]:
    field, auth = site.airavata.source_field(name), []
    if source.auth:
        auth = [_secret(site, f"{field}.auth", source.auth)]
        # A password that is prompted for is needed only once, at the pull; a missing one is a problem of its own.
        registries = registries and _kind(source.auth) != "prompt" and not auth[0].problem
    remote = source.pull or (source.jar and "://" in source.jar)
    state = ("pulled by its digest" if source.pull else "fetched by its sha256") if remote else "found"
    if source.pull and source.pull.startswith(f"{site.registry_address}/"):
        state = "in the private registry already"
    return [*auth, _checked(field, source.place, state, _check_image, site, source, registries)]


def _check_image(site: Site, source: ImageSource, registries: bool) -> None:
    if source.archive:
        images.resolve(source)  # an archive is only opened, and compared with its digest
        return
    if source.build:
        images.check_build(paths.resolve_path(source.build))
        return
    auth = session_of(site).vault.secret(source.auth) if source.auth and registries else None
    if source.jar:
        jar.check(source, auth, registries)
        return
    Reference.parse(source.pull or "")
    if registries and not images.in_registry(source, site.registry_address):  # 04-registry looks into that
        images.check_pull(source, auth)


def _secret(site: Site, field: str, reference: str, validate: Callable[[str], object] = lambda value: None) -> CheckedReference:
    """A secret. validate: raises RunbookError for an unusable value; only a value that is readable now is validated."""
    if _kind(reference) == "generated":
        return CheckedReference(field, reference, "generated on the master, once")
    if _kind(reference) == "prompt":
        return _checked(field, reference, "prompted for when it is needed", vault.require_prompt, reference)
    return _checked(field, reference, "found", lambda: validate(session_of(site).vault.secret(reference)))


def _kind(reference: str) -> str:
    return reference.partition(":")[0]


def _checked(field: str, target: str, state: str, check: Callable[..., object], *arguments: object) -> CheckedReference:
    """The result of `check(*arguments)`: `state`, or the problem of the RunbookError or OSError that it raised."""
    try:
        check(*arguments)
    except RunbookError as error:
        return CheckedReference(field, target, "unusable", error.summary, error.needed, error.remedy)
    except OSError as error:
        return CheckedReference(field, target, "unusable", str(error))
    return CheckedReference(field, target, state)
