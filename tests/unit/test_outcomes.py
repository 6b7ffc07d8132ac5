"""No path of the code depends on the wording of a message: outcomes are types and fields, so that a text can be improved."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "airavata_runbook"
TEXTS = ("message", "found", "needed", "remedy")  # of a RunbookError
READERS = ("startswith", "endswith", "replace", "split", "splitlines", "partition", "rpartition", "removeprefix", "find", "index")
# Texts of other programs and libraries, which say it in no other way.
ALLOWED = {
    ("cluster/kube.py", "'EOF occurred' in str(reason)"),  # OpenSSL's, in an ApiException of kubernetes.stream
    ("pki/chain.py", "str(error).split('\\n')"),  # cryptography's: its first line is shown
    ("site/yaml_reader.py", "str(error).splitlines()"),  # PyYAML's: its first line is shown
    ("notebook/site_files.py", "error.message.splitlines()"),  # its first line is shown
    ("checks/preflight.py", "error.found.split()"),  # only its white space, for a row of a table
}


def readings(tree: ast.Module) -> Iterator[ast.expr]:
    """The expressions that compare or take apart a message, or an exception's text."""
    caught = {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)}

    def is_text(node: ast.expr) -> bool:
        if isinstance(node, ast.Attribute):
            return (
                node.attr in TEXTS and isinstance(node.value, ast.Name) and ("error" in node.value.id or node.value.id in caught)
            )
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "str"
            and isinstance(node.args[0], ast.Name)
            and (node.args[0].id in caught or node.args[0].id in ("error", "reason"))
        )

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(is_text, [node.left, *node.comparators])):
            yield node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            matched = node.func.attr in ("match", "search", "fullmatch", "findall", "sub") and any(map(is_text, node.args))
            if matched or (node.func.attr in READERS and is_text(node.func.value)):
                yield node


def test_no_code_reads_a_message():
    found = {
        (path.relative_to(PACKAGE).as_posix(), ast.unparse(node))
        for path in PACKAGE.rglob("*.py")
        for node in readings(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found <= ALLOWED, f"use a type or a field of the error instead: {found - ALLOWED}"


def test_code_that_reads_a_message_is_found():
    source = (
        "try:\n    pass\nexcept StepFailed as error:\n    if 'lost' in str(error) or error.message.startswith('a'):\n"
        "        re.search('b', error.found)\n        error.remedy == 'c'\n        str(error).splitlines()\n"
    )
    assert len(list(readings(ast.parse(source)))) == 5
