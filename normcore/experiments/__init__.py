"""One file an experiment: a function that returns its measurements, and one that draws them."""

import ast
from pathlib import Path

__all__ = ["find_stored"]


def find_stored() -> dict[str, str]:
    """Experiments whose results are stored, those with a `main` that makes them: name → what it is of.

    Read, not imported: that would take seconds.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found
