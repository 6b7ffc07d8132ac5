"""Every message of the package on one page: `python -m tests.messages > tests/messages.md`.

Collected from the source: each place that constructs an error of the runbook, or a problem that a check found. {…} is filled
in when the message is made; a | b is one of two texts; an item that ends with … is repeated.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGE = "airavata_runbook"
COMMAND = "python -m tests.messages > tests/messages.md"
ROOTS = ("RunbookError", "NotYet", "Finding", "Problem", "CheckedReference")  # these, and every class derived from them
PARTS = ("message", "field", "check", "host", "what", "where", "command", "found", "problem", "problems", "needed", "remedy")
TITLE = f"""# Messages

Each message of `{PACKAGE}`, by module, as its source has it: `{{…}}` is filled in, `a | b` is one of two texts, an item
that ends with … is repeated. Generated: `{COMMAND}`.
"""


@cache
def page() -> str:
    """The content of tests/messages.md."""
    sections = [TITLE]
    for path, tree in _trees().items():
        if blocks := list(blocks_of(tree)):
            sections.append(f"## {path}\n\n```text\n" + "\n\n".join(blocks) + "\n```\n")
    return "\n".join(sections)


@cache
def blocks() -> list[str]:
    """Every message, in the order of the page: a line with its class and text, and a line for each of its other parts."""
    return [block for tree in _trees().values() for block in blocks_of(tree)]


def blocks_of(tree: ast.Module, module: str = "") -> Iterator[str]:
    """The messages that are made in a module's source, or in a part of it. module: its dotted name, if it is only a part."""
    yield from _blocks(tree, _names(module) if module else _names_in(tree))


@cache
def _trees() -> dict[str, ast.Module]:
    """Path → its syntax tree, of each module."""
    paths = sorted((PROJECT / PACKAGE).rglob("*.py"), key=lambda path: path.relative_to(PROJECT).parts)
    return {path.relative_to(PROJECT).as_posix(): ast.parse(path.read_text()) for path in paths}


@cache
def _known() -> dict[str, list[str]]:
    return _signatures(_classes(*_trees().values()))


@cache
def _names(module: str) -> dict[str, list[str]]:
    return _names_in(_trees()[f"{module.replace('.', '/')}.py"])


def _names_in(tree: ast.Module) -> dict[str, list[str]]:
    """As `_signatures`, of what a module calls so: a class of its own, or of the module that it is imported from."""
    found = dict(_known())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named, made = {name.name for name in node.names}, _made_in(f"{(node.module or '').replace('.', '/')}.py")
            found |= {name: of for name, of in made.items() if name in named}
    return found | _signatures(_classes(tree), found)


@cache
def _made_in(path: str) -> dict[str, list[str]]:
    return _signatures(_classes(_trees()[path]), _known()) if path in _trees() else {}


def _classes(*trees: ast.Module) -> list[ast.ClassDef]:
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _signatures(classes: list[ast.ClassDef], known: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Class → the names of its positional parameters, of each class that is a message."""
    found: dict[str, list[str]] = {}
    bases = {node.name: [ast.unparse(base).split(".")[-1] for base in node.bases] for node in classes}
    while True:  # until no class is derived from a found one; the order of the modules does not matter
        before = len(found)
        for node in classes:
            inherited = [(known or {}) | found]
            parent = next((base for base in bases[node.name] if base in inherited[0]), None)
            if node.name not in found and (node.name in ROOTS or parent):
                found[node.name] = _parameters(node) or (inherited[0][parent] if parent else ["message"])
        if len(found) == before:
            return found


def _parameters(node: ast.ClassDef) -> list[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return [argument.arg for argument in item.args.args[1:]]
    return [item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]


def _blocks(tree: ast.Module, signatures: dict[str, list[str]]) -> Iterator[str]:
    for call, texts in _calls(tree, {}):
        name = ast.unparse(call.func).split(".")[-1]
        if name in signatures:
            values = dict(zip(signatures[name], call.args, strict=False))
            values |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
            if name != "CheckedReference" or "problem" in values:
                yield _block(name, {part: _text(value, texts) for part, value in values.items()})


def _block(name: str, parts: dict[str, str]) -> str:
    lines = [f"{name}: {parts['message']}" if "message" in parts else name]
    for part in PARTS[1:]:
        if parts.get(part):
            lines.append(f"  {part + ':':9} " + parts[part])
    return "\n".join(line.replace("\n", "\n" + " " * 12).rstrip() for line in lines)


def _calls(node: ast.AST, texts: dict[str, ast.expr]) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """Calls in the order of the source, each with the texts that the variables of its function stand for."""
    if isinstance(node, ast.FunctionDef):
        texts = _variables(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
        yield node, texts
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, texts)


def _variables(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """The variables that are assigned once, and there a text."""
    nodes = list(ast.walk(function))
    count = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    pairs: list[tuple[ast.expr, ast.expr]] = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += zip(target.elts, value.elts, strict=False)
            else:
                pairs.append((target, value))
    return {
        target.id: value
        for target, value in pairs
        if isinstance(target, ast.Name) and count[target.id] == 1 and _is_text(value) and target.id not in ast.unparse(value)
    }


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (_is_text(node.left) or _is_text(node.right))
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)


def _text(node: ast.expr, texts: dict[str, ast.expr], inner: bool = False) -> str:
    """The text of an expression. inner: inside of a longer text, where alternatives need brackets."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(_text(part, texts, len(node.values) > 1) for part in node.values)
        case ast.FormattedValue():
            return _text(node.value, texts, inner)
        case ast.Name(id=name) if name in texts:
            return _text(texts[name], texts, inner)
        case ast.BinOp() if _is_text(node):
            return _text(node.left, texts, True) + _text(node.right, texts, True)
        case ast.IfExp(body=first, orelse=second):
            return _either([first, second], texts, inner)
        case ast.BoolOp(op=ast.Or(), values=values):
            return _either(values, texts, inner)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(separator)), attr="join"), args=[items]):
            return _items(items, separator, texts)
    return "{" + _code(node, texts) + "}"


def _either(values: list[ast.expr], texts: dict[str, ast.expr], inner: bool) -> str:
    text = " | ".join(_text(value, texts) or "nothing" for value in values)
    return f"({text})" if inner else text


def _items(node: ast.expr, separator: str, texts: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.GeneratorExp | ast.ListComp):
        return _text(node.elt, texts) + separator + "…"
    return "{" + _code(node, texts) + "}" + separator + "…"


class _Simple(ast.NodeTransformer):
    """Replaces what Python's versions write differently, or what is too long to read: f-strings and comprehensions."""

    def __init__(self, texts: dict[str, ast.expr]):
        self.texts = texts

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return ast.Constant(_text(node, self.texts))

    def visit_GeneratorExp(self, node: ast.GeneratorExp | ast.ListComp) -> ast.expr:
        return ast.Name(_text(node.elt, self.texts) + " …")

    visit_ListComp = visit_GeneratorExp


def _code(node: ast.expr, texts: dict[str, ast.expr]) -> str:
    simple = _Simple(texts).visit(deepcopy(node))
    return ast.unparse(simple).replace('"', "'")


if __name__ == "__main__":
    print(page(), end="")
