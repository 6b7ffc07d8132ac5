"""The dump of a site's databases, and its way back (cluster/mariadb.py), for what knows the site alone."""

from collections.abc import Iterable, Iterator

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.mariadb import Database, database_of
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import SiteError


def dump(session: Session) -> Iterator[bytes]:
    """All databases of the site with their users, as SQL. Raises as Database.dump, and SiteError for a stack without database."""
    return _database(session).dump(session.master)


def load(session: Session, blocks: Iterable[bytes]) -> None:
    """Have the databases and users of a dump, and no others. Nothing may use them meanwhile. Raises as Database.load."""
    _database(session).load(session.master, blocks)


def _database(session: Session) -> Database:
    stack = stack_of(session.site)
    if database := database_of(stack):
        return database
    raise SiteError("the stack has no database", where=f"stack {stack.name}", needed="the component mariadb")
