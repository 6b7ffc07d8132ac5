"""Text of the code as Markdown."""

import re
import textwrap

# What is code in a docstring or help, though nothing marks it: paths, names with _ and references to secrets.
NAMES = re.compile(
    r"(?<![\w`/.*])(~?/[\w.*-][\w./*-]*|[a-z]+(?:_[a-z0-9]+)+|(?:generated|env|file|prompt|keyring):[A-Z]+)(?![\w`*])"
)


def escaped(text: str) -> str:
    """Text with nothing in it that Markdown takes for its own, outside of `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([\\*_<>\[\]$|#~{}])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def prose(text: str) -> str:
    """A docstring's text as Markdown: its paragraphs, escaped, with paths and names as code."""
    paragraphs = re.split(r"\n\s*\n", textwrap.dedent(text).strip())
    return "\n\n".join(escaped(_code_outside(" ".join(paragraph.split()))) for paragraph in paragraphs)


def _code_outside(text: str) -> str:
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [NAMES.sub(r"`\1`", part) for part in parts[::2]]
    return "".join(parts)


def code(text: object) -> str:
    """Text as code within a line or a cell of a table."""
    shown = str(text)
    marks = "``" if "`" in shown else "`"
    return f"{marks}{shown}{marks}"


def sentence(text: str) -> str:
    """With a capital letter at its beginning and a full stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!", ":")) else ".") if text else ""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table; a cell is Markdown, and | in it is escaped. "" without rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *([" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
