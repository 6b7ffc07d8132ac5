"""When a field of a site file may change once the site exists: a mark beside the type of each field."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import GetJsonSchemaHandler


@dataclass(frozen=True)
class Life:
    """When a field may change once the site exists. why: the rest of the sentence that begins with `kind`.

    recorded: the value is in the record of the site on its master, and a run refuses another one.
    """

    why: str
    kind: ClassVar[str]
    recorded: ClassVar[bool] = False

    @property
    def text(self) -> str:
        """The whole sentence, as the schema and the documentation show it."""
        return f"{self.kind}: {self.why}"

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "x-life": self.text}


@dataclass(frozen=True)
class Free(Life):
    """It may change at any time; the next run applies it, or it concerns only what the runbook itself does."""

    kind = "free"


@dataclass(frozen=True)
class Outside(Life):
    """It says how something outside of the site is, and may change when that changes."""

    kind = "free, as it is outside of the site"


@dataclass(frozen=True)
class Procedure(Life):
    """It may change by a procedure that is more than changing the value and one run. why: the procedure."""

    kind = "changed by a procedure"


@dataclass(frozen=True)
class Moved(Procedure):
    """Changed by `airavata-runbook move-storage`: where the databases are. A run refuses another value."""

    why: str = "airavata-runbook move-storage SITE moves the databases to the new place"
    recorded = True


@dataclass(frozen=True)
class Fixed(Life):
    """It cannot change while the site exists. why: after its value. data: the databases' data depends on it, so that it stays
    fixed after a reset that keeps data."""

    data: bool = False
    kind = "fixed once the site exists"
    recorded = True
