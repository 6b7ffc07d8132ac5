"""The files that a site gives to its stack: Keycloak's realm, and the SQL of the database's tables and first rows."""

from airavata_runbook.checks.references import check_realm, read_file
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import SiteError
from airavata_runbook.images.source import in_registry
from airavata_runbook.mirror import jar
from airavata_runbook.mirror.recipes import UNIFIED_STAND_IN
from airavata_runbook.site import Site
from airavata_runbook.site.parts import SERVER_IMAGE

LARGEST = 1_000_000  # bytes; an object of Kubernetes holds 1 MiB in all (Secret documentation)


def site_input(site: Site, field: str) -> bytes:
    """The content of the file that a field of airavata.unified names; b"" where it names none and none is needed.

    Without schema_sql it is that of the server's jar, or of the STAND-IN. Raises SiteError, BadImage, DownloadFailed.
    """
    path = getattr(site.airavata.unified, field)
    content = read_file(path, f"airavata.unified.{field}") if path else _without(site, field)
    if field == "realm":
        check_realm(content, site.airavata.gateway, path or "")
    if len(content) > LARGEST:
        raise SiteError(
            "a file is too large for a Secret",
            where=f"airavata.unified.{field}",
            found=f"{len(content)} bytes",
            needed=f"at most {LARGEST}",
        )
    return content


def _without(site: Site, field: str) -> bytes:
    if field != "schema_sql":
        return b""
    source = site.airavata.sources.get(SERVER_IMAGE)
    if not source:
        return (UNIFIED_STAND_IN / "schema.sql").read_bytes()
    if in_registry(source, site.registry_address):  # of a release that has run: the database has its tables
        return b""
    found = b""
    if source.jar:
        found = jar.schema(source, session_of(site).vault.secret(source.auth) if source.auth else None)
    if not found:
        raise SiteError(
            "the database's tables are unknown",
            where="airavata.unified.schema_sql",
            found="no SQL below db/migration in the jar" if source.jar else "an image of the server, and no file",
            needed="the SQL that makes the tables of this version of the server",
        )
    return found
