"""Docstrings hold what the reference promises: formula, source, shapes, and an example that runs."""

import doctest
import inspect
import re
import sys

import pytest
import torch

from normcore import adaptation, clipping, functional, gradients, nn, scaling, statistics
from normcore import functional as F
from tests.commands import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import api
from formulas import inline, to_tex

METHODS = [(m, n) for m in (functional, gradients, nn) for n in m.__all__]
EVERY = [
    (m, n) for m in (statistics, functional, gradients, nn, scaling, adaptation, clipping) for n in m.__all__
]
LAYERS = [name for name in nn.__all__ if isinstance(getattr(nn, name), type)]


def doc(module, name):
    return inspect.getdoc(getattr(module, name))


@pytest.mark.parametrize("module, name", METHODS, ids=[f"{m.__name__}.{n}" for m, n in METHODS])
def test_a_method_has_its_formula_and_source(module, name):
    text = doc(module, name)
    (first, *_) = api.formulas(text.splitlines())
    assert any(sign in line for line in first for sign in "=←"), first
    assert re.search(r"^Source: \S.{8,}", text, flags=re.M)


@pytest.mark.parametrize("name", functional.__all__)
def test_a_method_says_what_it_averages_over(name):
    formula, index_set = api.summary(getattr(functional, name))
    assert "=" in formula
    assert index_set or name == "dynamic_tanh"  # which has no statistics


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_shapes_and_an_example(name):
    text = doc(nn, name)
    assert re.search(r"^Shape: .*\(.*\)", text, flags=re.M)
    shown = [line for line in text.splitlines() if line.startswith(">>> ")]
    assert shown and max(map(len, shown)) <= 72, shown  # the width of the page


@pytest.mark.parametrize("module, name", EVERY, ids=[f"{m.__name__}.{n}" for m, n in EVERY])
def test_examples_print_what_they_say(module, name):
    if not hasattr(getattr(module, name), "__doc__"):
        pytest.skip("a constant")
    torch.manual_seed(0)
    names = {"torch": torch, "nn": nn, "F": F, **vars(module)}
    for example in doctest.DocTestFinder(recurse=False).find(getattr(module, name), name, globs=names):
        told = []
        result = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
        assert not result.failed, "".join(told)


@pytest.mark.parametrize("module, name", EVERY, ids=[f"{m.__name__}.{n}" for m, n in EVERY])
def test_a_formula_is_readable_as_tex(module, name):
    for block in api.formulas((doc(module, name) or "").splitlines()):
        tex = to_tex(block)
        assert tex.isascii(), tex
        assert tex.count("{") == tex.count("}") and " / " not in tex
        assert len(re.findall(r"\\left\W", tex)) == len(re.findall(r"\\right\W", tex)), tex


def test_formulas():
    assert inline("a / √(b_nc² + ε)") == r"\frac{a}{\sqrt{b_{nc}^{2} + \varepsilon }}"
    assert inline("u v / (w + 1) · x") == r"\frac{u\, v}{w + 1} \cdot  x"
    assert inline("Σ_{i∈S} x_i, Σ = Σ^(−1/2)") == r"\sum _{i\in S}\, x_{i}, \Sigma  = \Sigma ^{-1/2}"
    assert inline("a/b, every value of c") == r"a/b,\ \text{every value of}\ c"
    with pytest.raises(ValueError, match="not closed"):
        inline("(a")
    with pytest.raises(ValueError, match="not known"):
        inline("a ¤ b")


def test_a_name_in_backticks_becomes_a_link_or_code():
    lines = api.as_rst("normcore.nn", ["As `LayerNorm`, `batch_norm` and `eps`."])
    assert lines == [
        "As :py:obj:`LayerNorm <normcore.nn.LayerNorm>`, "
        ":py:obj:`batch_norm <normcore.functional.batch_norm>` and ``eps``."
    ]
