"""Machine-made wrong versions of a solution: one small change each.

A check that cannot tell a mutant from the solution does not test what was changed.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Mutant", "describe", "mutants"]

OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
}
COMPARISONS = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.GtE: ast.Lt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
FUNCTIONS = {
    "mean": ["sum"],
    "sum": ["mean"],
    "var": ["std"],
    "std": ["var"],
    "amax": ["amin"],
    "amin": ["amax"],
    "max": ["min"],
    "min": ["max"],
    "sqrt": ["square"],
    "rsqrt": ["sqrt"],
    "square": ["abs"],
    "relu": ["abs"],
    "zeros": ["ones"],
    "ones_like": ["zeros_like"],
    "zeros_like": ["ones_like"],
}


@dataclass(frozen=True)
class Mutant:
    """One changed version of a source.

    Attributes:
        change: "before → after", the changed statement.
        source: the whole source, changed.
    """

    change: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a piece of Python: operators, comparisons, constants and axes, functions,
    keyword arguments left out, parameters mixed up, statements deleted.
    """
    tree = ast.parse(source)
    original = ast.unparse(tree)
    found: dict[str, Mutant] = {}
    for index, node in enumerate(ast.walk(tree)):
        for changed in _changes(tree, node):
            mutated = copy.deepcopy(tree)
            _replace(mutated, list(ast.walk(mutated))[index], changed)
            text = ast.unparse(ast.fix_missing_locations(mutated))
            if text != original and text not in found:
                found[text] = Mutant(describe(original, text), text)
    return list(found.values())


def _changes(tree: ast.AST, node: ast.AST) -> Iterator[ast.AST]:
    """What one node may be replaced by."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            for other in OPERATORS.get(type(op), []):
                yield _with(node, op=other())
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield node.operand
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(op)]()])
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(value=float() as value):
            yield from (ast.Constant(value * 2 + 1), ast.Constant(0.0))
        case ast.Attribute(attr=name) if name in FUNCTIONS:
            for other in FUNCTIONS[name]:
                yield _with(node, attr=other)
        case ast.Name(id=name, ctx=ast.Load()):
            parameters = _parameters(tree, node)
            if name in parameters and len(parameters) > 1:
                following = parameters[(parameters.index(name) + 1) % len(parameters)]
                yield ast.Name(following, ast.Load())
    if isinstance(node, ast.Call):
        for i in range(len(node.keywords)):
            yield _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.If, ast.For)) or (
        isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    ):
        yield ast.Pass()


def _parameters(tree: ast.AST, node: ast.AST) -> list[str]:
    """The parameters of the innermost function around `node`, without self."""
    around = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and node in ast.walk(f)]
    names = [a.arg for a in around[-1].args.args] if around else []
    return [name for name in names if name != "self"]


def _with(node: ast.AST, **fields) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]


def describe(original: str, mutated: str) -> str:
    """The first line that differs, before and after."""
    before, after = original.splitlines(), mutated.splitlines()
    start = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    if len(before) != len(after):
        return f"{before[start].strip()} → {after[start].strip()} (statement deleted)"
    return f"{before[start].strip()} → {after[start].strip()}"
