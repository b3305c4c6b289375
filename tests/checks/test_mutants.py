import ast

from normcore.checks.mutants import mutants

SOURCE = '''
def f(x, y, eps):
    """Doc."""
    mean = x.mean(0, keepdim=True)
    if eps == 0:
        eps = 1e-5
    return -(x - mean) / (y + eps)
'''


def test_each_kind_of_change_is_made():
    changes = [m.change for m in mutants(SOURCE)]
    for change in (
        "mean = x.mean(0, keepdim=True) → mean = x.sum(0, keepdim=True)",
        "mean = x.mean(0, keepdim=True) → mean = x.mean(1, keepdim=True)",
        "mean = x.mean(0, keepdim=True) → mean = x.mean(0, keepdim=False)",
        "mean = x.mean(0, keepdim=True) → mean = x.mean(0)",
        "mean = x.mean(0, keepdim=True) → mean = y.mean(0, keepdim=True)",
        "mean = x.mean(0, keepdim=True) → pass",
        "if eps == 0: → if eps != 0:",
        "return -(x - mean) / (y + eps) → return -(x + mean) / (y + eps)",
        "return -(x - mean) / (y + eps) → return -(x - mean) * (y + eps)",
        "return -(x - mean) / (y + eps) → return (x - mean) / (y + eps)",
    ):
        assert change in changes


def test_mutants_are_distinct_valid_and_changed():
    found = mutants(SOURCE)
    sources = [m.source for m in found]
    assert len(set(sources)) == len(sources) > 15
    assert ast.unparse(ast.parse(SOURCE)) not in sources
    for source in sources:
        compile(source, "mutant", "exec")


def test_a_docstring_is_no_statement_to_delete():
    assert mutants('def f():\n    """Doc."""\n') == []
