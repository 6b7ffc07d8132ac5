"""What every committed notebook keeps to: the two first cells, short cells without logic, outputs of one clean run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from airavata_runbook.chapters import MODULES, steps_of

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))

PARAMETERS = """\
site = None   # a name ("lab"), a path, or what papermill -f parameters/SITE.yaml injects
plan = False  # True: show what would change, change nothing"""
LOAD = ["from airavata_runbook import Site", "site = Site.load(site); site"]

LINES = 3  # a code cell has at most so many
LONG = 50_000  # characters of one output's text; HTML with folded differences may have five times as many
SIZE = 1_000_000  # bytes of a notebook
LOGIC = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.While,
    ast.With,
    ast.Try,
    ast.FunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.Assert,
    ast.Raise,
    ast.Delete,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.BoolOp,
    ast.Match,
)
SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY|client-key-data",
    "a password's hash": r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{20}|\$[156]\$[^$\s]+\$\S{20}",
    "a token": r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a password": r"(?i)(?:password|passwd|secret)['\"]?\s*[=:]\s*['\"]?"
    r"(?!generated:|env:|file:|prompt:|keyring:|\*|\(|<|\{|&|none|null|true|false|create|replace|/)[^\s'\"]{6,}",
}
USER_PATHS = [r"/home/[a-z]", r"/Users/[A-Za-z]", re.escape(str(PROJECT)), re.escape(str(Path.home())) + "/"]


def problems(path: Path) -> list[str]:
    """What is wrong with a notebook, each with its cell's number (from 1, prose counted); [] when all is well."""
    notebook = nbformat.read(path, as_version=4)
    cells = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    found = _first_cells(cells) + _imports(cells) + _metadata(notebook)
    if path.stat().st_size > SIZE:
        found.append(f"the file has more than {SIZE} bytes")
    if [cell.execution_count for _, cell in cells] != list(range(1, len(cells) + 1)):
        found.append("execution counts are not 1, 2, 3 …: commit the outputs of one run from top to bottom")
    for number, cell in cells:
        found += [f"cell {number}: {text}" for text in _code(cell.source) + _outputs(cell)]
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            found += [f"cell {number}: {text}" for text in _leaks(cell.source)]
    return found


def _first_cells(cells: list) -> list[str]:
    if len(cells) < 3:
        return ["a chapter has its two first cells and at least one step"]
    (_, first), (_, second) = cells[:2]
    found = [] if first.source == PARAMETERS else ["the first code cell is not the one of the parameter convention"]
    found += [] if first.metadata.get("tags") == ["parameters"] else ["the first code cell needs the one tag `parameters`"]
    lines = second.source.splitlines()
    chapter = [line for line in lines if re.fullmatch(r"from airavata_runbook\.chapters import \w+(, \w+)*", line)]
    if [line for line in lines if line not in chapter] != LOAD or len(chapter) > 1:
        found.append("the second code cell is not the one of the parameter convention (a chapter's import may be in it)")
    return found


def _imports(cells: list) -> list[str]:
    lines = [line for _, cell in cells[2:] for line in cell.source.splitlines() if re.match(r"\s*(import|from)\s", line)]
    return ["more than one import line after the second code cell"] if len(lines) > 1 else []


def _metadata(notebook) -> list[str]:
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    if "papermill" in notebook.metadata or any("injected-parameters" in cell.metadata.get("tags", []) for cell in notebook.cells):
        found.append("it was executed by papermill: outputs to commit come from a run without an injected cell")
    if notebook.metadata.get("widgets"):
        found.append("the state of widgets is saved in it")
    return found


def _code(source: str) -> list[str]:
    lines = [line for line in source.splitlines() if line.strip()]
    found = [] if 1 <= len(lines) <= LINES else [f"{len(lines)} lines of code (1 to {LINES} are allowed)"]
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [*found, f"is not plain Python: {error.msg}"]
    logic = sorted({type(node).__name__ for node in ast.walk(tree) if isinstance(node, LOGIC)})
    return found + ([f"holds logic ({', '.join(logic)}), which belongs in the package"] if logic else []) + _leaks(source)


def _outputs(cell) -> list[str]:
    found = []
    tree = ast.parse(cell.source) if not _syntax(cell.source) else ast.Module([], [])
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not cell.outputs:
        found.append("ends with a value and has no output: commit the outputs of a real run")
    for output in cell.outputs:
        if output.output_type == "error":
            found.append(f"its output is an error: {output.ename}")
        if output.get("name") == "stderr":
            found.append("it wrote to stderr")
        if output.output_type == "stream" and "\r" in output.text:
            found.append("an output holds the progress of a step, line over line")
        for kind, text in _texts(output):
            if len(text) > (5 * LONG if kind == "text/html" else LONG):
                found.append(f"an output of {len(text)} characters ({kind})")
            found += _leaks(text)
    return found


def _syntax(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return True
    return False


def _texts(output) -> list[tuple[str, str]]:
    pairs = [("stream", output.text)] if output.output_type == "stream" else list(output.get("data", {}).items())
    return [(kind, text) for kind, text in pairs if isinstance(text, str) and not kind.startswith("image/png")]


def _leaks(text: str) -> list[str]:
    found = [f"shows {name}" for name, pattern in SECRETS.items() if re.search(pattern, text)]
    return found + [
        f"shows a path of one user's machine: {match.group()}" for pattern in USER_PATHS if (match := re.search(pattern, text))
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert not problems(path), "\n".join(problems(path))


def test_notebooks_are_the_chapters_in_order():
    expected = ["01-network", "02-install", "03-etcd-flannel", "04-registry", "05-deploy-airavata", "06-verify"]
    assert [path.stem for path in NOTEBOOKS] == expected[: len(NOTEBOOKS)]


def good() -> nbformat.NotebookNode:
    """A notebook that keeps all rules."""
    v4 = nbformat.v4
    notebook = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    cells = [
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        v4.new_code_cell("\n".join(LOAD), outputs=[v4.new_output("execute_result", {"text/plain": "site lab: master"})]),
        v4.new_code_cell("from airavata_runbook.chapters import network"),
        v4.new_code_cell(
            "network.addresses(site, plan=plan)",
            outputs=[
                v4.new_output("stream", text="addresses: one\n"),
                v4.new_output("execute_result", {"text/plain": "password: generated:x", "text/html": "<b>1 ok</b>"}),
            ],
        ),
    ]
    for count, cell in enumerate(cells, 1):
        cell.execution_count = count
    notebook.cells = [v4.new_markdown_cell("# Network"), *cells]
    return notebook


def said(tmp_path, change) -> str:
    """What `problems` says of the good notebook after `change(its code cells, notebook)`."""
    notebook = good()
    change([cell for cell in notebook.cells if cell.cell_type == "code"], notebook)
    nbformat.write(notebook, tmp_path / "01-network.ipynb")
    return "\n".join(problems(tmp_path / "01-network.ipynb"))


def test_progress_that_is_saved_is_found(tmp_path):
    """A line that a terminal rewrites is a stack of lines in a saved notebook, as GitHub shows it."""

    def change(cells, notebook):
        cells[3].outputs[0].text = "\rone: gathering facts\rone: done\n"

    assert "progress of a step" in said(tmp_path, change)


def test_a_good_notebook_passes(tmp_path):
    assert said(tmp_path, lambda cells, notebook: None) == ""


@pytest.mark.parametrize(
    "source, told",
    [
        ("if plan:\n    pass", "logic (If)"),
        ("[n for n in site.nodes]", "logic (ListComp)"),
        ("def f(): pass", "logic (FunctionDef)"),
        ("a = 1\nb = 2\nc = 3\nd = 4", "4 lines"),
        ("%time network.addresses(site)", "not plain Python"),
        ("import os", "more than one import line"),
        ("network.addresses(site)", "no output"),
    ],
)
def test_bad_code_is_found(tmp_path, source, told):
    def change(cells, notebook):
        cells[3].source, cells[3].outputs = source, []

    assert told in said(tmp_path, change)


@pytest.mark.parametrize(
    "text, told",
    [
        ("password: Tr0ub4dor&3", "shows a password"),
        ("-----BEGIN EC PRIVATE KEY-----", "a private key"),
        ("admin:$2b$05$abcdefghijklmnopqrstuv", "a password's hash"),
        ("Authorization: Bearer eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJlcm5l", "a token"),
        ("wrote /home/alice/.kube/config", "one user's machine"),
        (f"wrote {PROJECT}/outputs", "one user's machine"),
        ("x" * (LONG + 1), "characters"),
    ],
)
def test_bad_output_is_found(tmp_path, text, told):
    def change(cells, notebook):
        cells[3].outputs[0].text = text

    assert told in said(tmp_path, change)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda cells, notebook: cells[0].update(source="site = 'lab'\nplan = False"), "first code cell is not"),
        (lambda cells, notebook: cells[0].metadata.update(tags=[]), "one tag `parameters`"),
        (lambda cells, notebook: cells[1].update(source="site = 1"), "second code cell is not"),
        (lambda cells, notebook: cells[2].update(execution_count=None), "execution counts"),
        (lambda cells, notebook: cells[3].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="w")), "stderr"),
        (
            lambda cells, notebook: cells[3].outputs.append(
                nbformat.v4.new_output("error", ename="StepFailed", evalue="", traceback=[])
            ),
            "an error: StepFailed",
        ),
        (lambda cells, notebook: notebook.metadata.update(papermill={}), "executed by papermill"),
        (lambda cells, notebook: notebook.metadata.update(widgets={"state": {}}), "widgets"),
        (lambda cells, notebook: notebook.metadata.update(kernelspec={"name": "mine", "display_name": "m"}), "not python3"),
        (lambda cells, notebook: notebook.cells.__delitem__(slice(3, None)), "at least one step"),
        (lambda cells, notebook: notebook.cells[0].update(source="password = hunter2hunter2"), "cell 1: shows a password"),
    ],
)
def test_other_faults_are_found(tmp_path, change, told):
    assert told in said(tmp_path, change)


@pytest.mark.parametrize(
    "was, now, same",
    [
        ("master 10.98.0.11 on lab0, lease 10.244.3.0/24", "master 10.97.0.11 on lab97, lease 10.244.71.0/24", True),
        ("each replica served at least 20 of 100", "each replica served at least 19 of 100", False),
        ("valid until 2027-11-23 10:00:00", "valid until 2027-11-24 11:12:13", True),
    ],
)
def test_nbval_lets_pass_what_another_lab_changes_and_nothing_else(tmp_path, was, now, same):
    outputs = [nbformat.v4.new_output("stream", text=was + "\n")]
    assert compared(tmp_path, f"print({now!r})", outputs) == (same, not same)


@pytest.mark.parametrize(("shown", "same"), [("portal", True), ("another page", False)])
def test_nbval_compares_what_a_screenshot_shows_in_words_and_not_its_pixels(tmp_path, shown, same):
    outputs = [nbformat.v4.new_output("display_data", {"image/png": "b25l", "text/plain": shown})]
    source = "from airavata_runbook.engine.report import Picture\ndisplay(Picture(name='x', text='portal', png='dHdv'))"
    assert compared(tmp_path, source, outputs) == (same, not same)


def compared(tmp_path, source: str, outputs: list) -> tuple[bool, bool]:
    """Whether nbval passes a cell with these committed outputs, and whether it fails it."""
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=good().metadata), tmp_path / "one.ipynb")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--nbval",
            "--nbval-current-env",
            "-p",
            "no:cacheprovider",
            "--nbval-sanitize-with",
            PROJECT / "tests" / "nbval" / "sanitize.cfg",
            tmp_path / "one.ipynb",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return "1 passed" in done.stdout, "1 failed" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_the_steps_of_its_chapter_in_their_order(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"][2:]
    module = MODULES[path.stem]
    assert cells == [f"{module}.{step.__name__}(site, plan=plan)" for step in steps_of(path.stem)]


def test_every_notebook_is_a_chapter():
    assert [path.stem for path in NOTEBOOKS] == list(MODULES) and steps_of("99-other") == []
