"""What identifies code by what it does: other comments, docstrings, imports and type hints make no other fingerprint."""

import ast
import hashlib
from functools import cache
from threading import Lock

_PARSING = Lock()  # in Python 3.11 two threads that parse at the same time fail (python/cpython issue 106905)
WITHOUT_EFFECT = ("annotation", "returns", "type_comment", "kind")  # fields of syntax nodes


@cache  # a run names every image in several steps
def fingerprint(source: str) -> str:
    """The sha256 of the syntax of a Python module, the same in every version of Python that parses it to the same nodes."""
    with _PARSING:
        tree = ast.parse(source)
    return hashlib.sha256(repr(_syntax(tree)).encode()).hexdigest()


def _syntax(node: object) -> object:
    # ast.dump prints empty fields in some versions of Python and omits them in others: here they are always omitted.
    if isinstance(node, list):
        return [_syntax(one) for one in node if not _is_ignored(one)]
    if isinstance(node, ast.AST):
        fields = [(name, _syntax(value)) for name, value in ast.iter_fields(node) if name not in WITHOUT_EFFECT]
        return [type(node).__name__, *((name, value) for name, value in fields if value not in ([], "None"))]
    return repr(node)


def _is_ignored(node: object) -> bool:
    """Whether it is an import, or a docstring (a string that is a statement)."""
    return isinstance(node, (ast.Import, ast.ImportFrom)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
