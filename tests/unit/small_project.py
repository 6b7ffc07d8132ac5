"""A project with small notebooks, whose steps report what a test wants, and what a run leaves behind there."""

import json
import time
from pathlib import Path

import nbformat

SITE = """
site:
  name: small
  nodes: [{name: one, address: 192.0.2.11, role: master, ssh: {host: 127.0.0.1, port: 1}}]  # nobody answers there
  airavata: {secrets: {mariadb-root: "env:CANARY"}}
"""
FIRST = ("site = None\nplan = False", "from airavata_runbook import Site\nsite = Site.load(site); site")
STEP = """from airavata_runbook.engine.report import Failure, Item, Report
from airavata_runbook.engine.step import finish
def step(title, *statuses, failures=()):
    items = [
        Item(label=f"item {n}", status=status, summary="summary", detail="- old\\n+ <new>", command="echo done")
        for n, status in enumerate(statuses)
    ]
    failures = [Failure(host="one", message=message) for message in failures]
    return finish(
        Report(
            chapter="small", step=title, title=title, plan=plan, hosts={"one": items}, failures=failures, seconds=0.1
        )
    )"""


def write(folder: Path, name: str, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in (*FIRST, STEP, *cells)]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


def report_of(project: Path) -> dict:
    return json.loads((project / "outputs" / "small" / "latest" / "report.json").read_text())


def outputs_of(project: Path, name: str, run: str = "latest") -> str:
    cells = nbformat.read(project / "outputs" / "small" / run / f"{name}.ipynb", as_version=4).cells
    return "".join(str(cell.get("outputs", "")) for cell in cells)


def wait_for(done) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.05)
