"""The pages of the documentation, taken from the project's own files, each passage from one place.

`stage` copies them into one folder for Sphinx: README.md as a page for each of its sections, the documents and notebooks as they
are, and what they link to besides, as pages that show a file. Links are written anew where a page has moved. Nothing here
needs Sphinx, so that the unit tests use it too.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[2]
START = Path(__file__).parent / "index.md"  # the first page, which has the navigation
README = "README.md"
DOCUMENTS = (
    "docs/*.md",
    "notebooks/**/*.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "outputs/README.md",
    "tests/nbval/README.md",
    "tests/site/certificates.md",
    "docs/sphinx/README.md",
)
NOTEBOOKS = "notebooks/**/*.ipynb"
BELOW = {"docs/exercises.md": "notebooks/exercises/*"}  # page → the pages that the navigation has below it
TOCTREE = "\n```{{toctree}}\n:hidden:\n:glob:\n\n/{}\n```\n"
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
CODE = re.compile(r"(?ms)^ *(`{3,}|~{3,}).*?^ *\1 *$|(`+)(?!`).*?(?<!`)\2(?!`)")  # blocks, and code in a line
OUTSIDE = ("https:", "http:", "mailto:")
LEXERS = {
    ".py": "python",
    ".yaml": "yaml+jinja",
    ".json": "json",
    ".sh": "bash",
    ".sql": "sql",
    ".toml": "toml",
    ".cfg": "ini",
    ".properties": "properties",
}


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def without_code(text: str) -> str:
    """A Markdown text with its code blanked out, line by line, so that positions stay."""
    return CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def links(text: str) -> list[str]:
    """Where the links of a Markdown text lead; code has none."""
    return LINK.findall(without_code(text))


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings."""
    return {slug(heading) for heading in re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", text))}


def documents() -> list[str]:
    """The project's documents and notebooks that are pages, without README.md, by their paths."""
    found = {path for pattern in (*DOCUMENTS, NOTEBOOKS) for path in PROJECT.glob(pattern)}
    paths = (path.relative_to(PROJECT) for path in found)
    return sorted(path.as_posix() for path in paths if ".ipynb_checkpoints" not in path.parts)


def markdown_of(path: str) -> str:
    """A document's text; of a notebook the texts of its Markdown cells."""
    text = (PROJECT / path).read_text(encoding="utf-8")
    if not path.endswith(".ipynb"):
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def readme_sections() -> dict[str, str]:
    """Page → text of each section of README.md, with its headings one level up; "" → what is above the first section."""
    before, *sections = re.split(r"(?m)^(?=## )", (PROJECT / README).read_text(encoding="utf-8"))
    found = {"": before}
    for section in sections:
        title = section.partition("\n")[0].removeprefix("## ")
        found[f"readme/{slug(title)}"] = re.sub(r"(?m)^#(?=#+ )", "", section)
    return found


class Links:
    """Where a link of one document leads on the site. path: of the document, from which the link is meant."""

    def __init__(self, generated: dict[str, str], show: Callable[[Path], str]):
        self.pages = {*documents(), *generated}
        self.show = show

    @cached_property
    def _readme(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for page, text in readme_sections().items():
            found |= dict.fromkeys(anchors(text), f"/{page}.md" if page else "/index.md")
        return found

    def rewritten(self, text: str, path: str) -> str:
        """The text with the links that it has on the site."""
        code = without_code(text)
        parts, end = [], 0
        for link in LINK.finditer(code):
            parts += [text[end : link.start()], self.target(link[0], path)]
            end = link.end()
        return "".join([*parts, text[end:]])

    def target(self, link: str, path: str) -> str:
        """A link in the document at `path`, from the site's root; one to another site as it is."""
        if link.startswith(OUTSIDE):
            return link
        name, _, anchor = link.partition("#")
        target = (PROJECT / path).parent.joinpath(name).resolve() if name else PROJECT / path
        page = target.relative_to(PROJECT).as_posix()
        if page == README:
            return self._readme.get(anchor, "/index.md")
        if page in self.pages:
            return f"/{page}" + (f"#{anchor}" if anchor else "")
        return self.show(target)


def stage(folder: Path, generated: dict[str, str]) -> None:
    """Write the sources of all pages into a folder, and remove what is none any more. generated: path of a page → its text; it
    has precedence over a file."""
    pages, shown = {}, dict[Path, str]()

    def show(target: Path) -> str:
        shown.setdefault(target, "")
        return f"/files/{target.relative_to(PROJECT).as_posix()}.md"

    own = Links(generated, show)
    for page, text in readme_sections().items():
        if page:
            pages[f"{page}.md"] = own.rewritten(text, README)
        else:  # the table of what to read on is what the navigation is here
            pages["readme/introduction.txt"] = own.rewritten(re.sub(r"(?m)^\|.*\n", "", text), README)
    for path in documents():
        text = (PROJECT / path).read_text(encoding="utf-8")
        pages[path] = _notebook(text, path, own) if path.endswith(".ipynb") else own.rewritten(text, path)
        pages[path] += TOCTREE.format(BELOW[path]) if path in BELOW else ""
    pages |= {path: own.rewritten(text, path) for path, text in generated.items()}
    pages["index.md"] = START.read_text(encoding="utf-8")
    while missing := [target for target, text in shown.items() if not text]:
        for target in missing:
            shown[target] = _shown(target, show)
    pages |= {f"files/{target.relative_to(PROJECT).as_posix()}.md": text for target, text in shown.items()}
    for path, text in pages.items():
        _write(folder / path, text)
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in pages:
            file.unlink()


def _notebook(text: str, path: str, own: Links) -> str:
    content = json.loads(text)
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = own.rewritten("".join(cell["source"]), path)
        for output in cell.get("outputs", []):
            if "image/png" in (data := output.get("data", {})):  # what it shows is its text, for MyST-NB
                cell["metadata"]["mystnb"] = {"image": {"alt": "".join(data["text/plain"])}}
    return json.dumps(content, ensure_ascii=False, indent=1)


def _shown(target: Path, show: Callable[[Path], str]) -> str:
    """A page that shows a file of the project, or lists a folder's; it is in no navigation."""
    lines = ["---", "orphan: true", "---", f"# `{target.relative_to(PROJECT).as_posix()}`", ""]
    if target.is_dir():
        lines += [f"- [{file.relative_to(target).as_posix()}]({show(file)})" for file in _files(target)]
    else:
        lexer = LEXERS.get(target.suffix, "text")
        lines += [f"~~~~~~~~{lexer}", target.read_text(encoding="utf-8").rstrip(), "~~~~~~~~"]
    return "\n".join([*lines, ""])


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _write(file: Path, text: str) -> None:
    """A file that has the text already is left, so that Sphinx reads only what has changed."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
