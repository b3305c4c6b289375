"""Mutants by cosmic-ray's operators, which know nothing of the course: a second opinion on the checks."""

import ast
import importlib.util

from normcore.checks.mutants import Mutant, describe

__all__ = ["INSTALLED", "mutants"]

# of the extra [dev]
INSTALLED = importlib.util.find_spec("cosmic_ray") is not None


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a piece of Python that cosmic-ray's operators make and Python can read.

    Raises:
        ModuleNotFoundError: cosmic-ray is not installed.
    """
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.operators.provider import OperatorProvider

    original = ast.unparse(ast.parse(source))
    # without comments, which no operator changes; cosmic-ray wants the newline
    plain, found = original + "\n", {}
    nodes, provider = list(ast_nodes(get_ast(plain))), OperatorProvider()
    for kind in (provider[name] for name in provider):
        if kind.arguments():  # wants names to put in
            continue
        operator = kind()
        places = sum(1 for node in nodes for _ in operator.mutation_positions(node))
        for occurrence in range(places):
            text = _normal(mutate_code(plain, operator, occurrence))
            if text and text != original and text not in found:
                found[text] = Mutant(describe(original, text), text)
    return list(found.values())


def _normal(source: str | None) -> str:
    """As `ast` writes it; empty where it is no Python."""
    try:
        return ast.unparse(ast.parse(source or ""))
    except SyntaxError:
        return ""
