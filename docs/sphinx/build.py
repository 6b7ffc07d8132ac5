"""`make docs`: the documentation as a site in outputs/docs/html, for a browser without a server and without a network."""

import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from docs.sphinx.reference import generated
from docs.sphinx.sources import PROJECT, stage

OUTPUT = PROJECT / "outputs/docs"
SETTINGS = Path(__file__).parent  # of Sphinx
# Attribute by which a page loads something by itself. A link (a) is for the reader to follow.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data", "use": "href"}
NOT_LOADED = {"canonical", "next", "prev", "search", "index", "author", "license"}  # rel of a link


def main() -> int:
    """Returns the exit status: 1 where a page has a warning, or loads something from another host."""
    from sphinx.cmd.build import build_main

    stage(OUTPUT / "source", generated())
    html = OUTPUT / "html"
    shutil.rmtree(html, ignore_errors=True)  # what is read is kept, what is written is not: each page has the whole navigation
    strict = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto", "--write-all"]
    status = build_main([*strict, "-c", str(SETTINGS), "-d", str(OUTPUT / "doctrees"), str(OUTPUT / "source"), str(html)])
    if status == 0:
        wrong = [f"{path.relative_to(html)}: {address}" for path in sorted(html.rglob("*")) for address in elsewhere(path)]
        print("\n".join([f"loads from another host: {one}" for one in wrong] or [f"{html.relative_to(PROJECT)}/index.html"]))
        status = bool(wrong)
    return status


def elsewhere(path: Path) -> list[str]:
    """The addresses on other hosts from which a built page or a style sheet loads something by itself."""
    if path.suffix == ".html":
        return [address for address in _loaded(path.read_text(encoding="utf-8")) if _is_elsewhere(address)]
    if path.suffix == ".css":
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", text)
        return [address for pair in found for address in pair if _is_elsewhere(address)]
    return []


def _is_elsewhere(address: str) -> bool:
    return re.match(r"\s*([a-z][a-z+.-]*:)?//", address, re.IGNORECASE) is not None


def _loaded(page: str) -> Iterator[str]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = {name: value or "" for name, value in attrs}
            if tag in LOADED and not NOT_LOADED & set(given.get("rel", "").split()):
                found.append(given.get(LOADED[tag], ""))

    Reader().feed(page)
    yield from found


if __name__ == "__main__":
    sys.exit(main())
