"""Functions that are answers: plain text in the repository, sealed in the tree that students get.

A check needs right answers: the plain solution that its mistakes are edits of, and a reference where the
library has none. Whoever opens a check's file may read all of it, but finds no answer to paste. A seal is no
secret: who undoes it has worked more than who reads the chapter.
"""

import ast
import base64
import inspect
import sys
from collections.abc import Callable
from typing import TypeVar

__all__ = ["answer", "sealed"]

Answer = TypeVar("Answer", bound=Callable)
WIDTH = 96


def answer(function: Answer) -> Answer:
    """Marks a function or class of a check's file as an answer, and keeps its text as `source`.

    Args:
        function: itself, as a decorator; or its text, sealed: it is then defined in the caller's module.
    """
    if isinstance(function, str):
        source, module = base64.b85decode(function).decode(), sys._getframe(1).f_globals
        exec(compile(source, f"<{module['__name__']}>", "exec"), module)
        function = module[ast.parse(source).body[0].name]
    else:
        source = inspect.getsource(function).partition("\n")[2]  # without the decorator
    function.source = source
    return function


def sealed(text: str) -> str:
    """The text of a check's file with each of its answers sealed."""
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and _is_answer(node):
            source = "".join(lines[node.lineno - 1 : node.end_lineno])
            code = base64.b85encode(source.encode()).decode()
            seal = "".join(f'    "{code[i : i + WIDTH]}"\n' for i in range(0, len(code), WIDTH))
            lines[node.decorator_list[0].lineno - 1 : node.end_lineno] = [f"{node.name} = answer(\n{seal})\n"]
    return "".join(lines)


def _is_answer(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == answer.__name__ for d in node.decorator_list)
