"""The pages of the reference that are generated when the site is built: path of a page → its Markdown text."""

from collections.abc import Callable

from docs.sphinx import reference_checks, reference_commands, reference_facts, reference_fields, reference_steps
from tests import messages

PAGES: dict[str, Callable[[], str]] = {
    "parameters/fields.md": reference_fields.page,  # more than the table of that name, which links lead to
    "reference/commands.md": reference_commands.page,
    "reference/checks.md": reference_checks.page,
    "reference/steps.md": reference_steps.page,
    "reference/facts.md": reference_facts.page,
    "reference/messages.md": messages.page,
}


def generated() -> dict[str, str]:
    """All of them. They are Markdown with links that are meant from the page's place in the project."""
    return {path: page() for path, page in PAGES.items()}
