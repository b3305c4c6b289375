"""cosmic-ray's operators, as the audit uses them."""

import ast

import pytest

from normcore.checks import cosmic, mutants
from tests.checks.test_mutants import SOURCE

pytest.importorskip("cosmic_ray", reason="cosmic-ray is of the extra [dev]")


def test_they_make_other_mutants_than_ours_all_valid_distinct_and_changed():
    found = [m.source for m in cosmic.mutants(SOURCE)]
    assert len(set(found)) == len(found) > 20
    assert len(set(found) - {m.source for m in mutants.mutants(SOURCE)}) > 15
    assert ast.unparse(ast.parse(SOURCE)) not in found
    for source in found:
        compile(source, "mutant", "exec")


def test_a_mutant_is_described_by_its_line():
    changes = [m.change for m in cosmic.mutants(SOURCE)]
    assert "if eps == 0: → if eps <= 0:" in changes
    assert "return -(x - mean) / (y + eps) → return -(x - mean) // (y + eps)" in changes
