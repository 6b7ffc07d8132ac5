"""The prose of the notebooks: every term is explained, what unfolds is Markdown, and each chapter ends with questions."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"))
TERMS = (
    *(
        "host",
        "node",
        "pod",
        "container",
        "image",
        "service",
        "endpoints",
        "lease",
        "subnet",
        "vxlan",
        "CNI",
        "etcd",
        "API server",
    ),
    *("kubelet", "controller", "scheduler", "certificate", "registry", "manifest", "Deployment", "probe", "namespace", "volume"),
)
FOLD = re.compile(r"<details><summary>[^\n]+</summary>\n\n.+?\n\n</details>", re.DOTALL)


def prose(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_once_in_bold(term):
    assert any(re.search(rf"\*\*{term}s?\*\*", text) for path in NOTEBOOKS for text in prose(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_unfolds_is_markdown(path):
    """With an empty line behind the summary; else JupyterLab, VS Code and GitHub show its marks as they are."""
    for text in prose(path):
        assert len(FOLD.findall(text)) == text.count("<details>") == text.count("</details>"), text[:80]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_says_what_each_step_is_for_and_ends_with_questions(path):
    *steps, last = prose(path)
    for text in (one for one in steps if one.startswith("## ") and "<summary>Then and now</summary>" in one):
        assert "**What it is for.**" in text and "**What is done.**" in text or "Mesos" in text, text[:80]
    assert last.startswith("## What you should be able to explain now") and 3 <= last.count("<summary>") <= 5
