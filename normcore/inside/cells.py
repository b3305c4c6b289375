"""A notebook's cells, run as Jupyter runs them, but statement by statement: what follows an error still runs.

A learner tests an answer in the cell that defines it, and such a test may use what is not here: another
package, the internet, autograd. The notebook's verdict on the answer is not about the test.
"""

import __future__

import ast
import asyncio
import builtins
import inspect
import linecache
import signal
import sys
import traceback
import types
from contextlib import contextmanager

import IPython
from IPython.core.inputtransformer2 import TransformerManager

__all__ = ["Cells", "explain"]

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
RUNNING = {"time", "timeit", "capture", "prun"}  # magics that run the rest of their cell
AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def _seconds_of(definition: ast.stmt) -> float:
    """What a definition has though a cell's time is over: tasks need what it defines. Imports read files."""
    return 10.0 if isinstance(definition, (ast.Import, ast.ImportFrom)) else 1.0


class TooLong(BaseException):
    """A cell's time is over. TimeoutError is an OSError, which much code takes for a missing file."""


class Cells:
    """The cells of one notebook, in one namespace.

    Args:
        seconds: for all cells together; when it is over, only definitions and imports are run.
        cell_seconds: for one cell.

    Attributes:
        namespace: of the notebook.
        errors: by the name of the cell, its first one, in words.
    """

    def __init__(self, seconds: float, cell_seconds: float) -> None:
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        shell = _Shell(self)
        IPython.get_ipython = IPython.core.getipython.get_ipython = lambda: shell
        self.namespace = vars(main)
        self.namespace.update(__builtins__=builtins, get_ipython=lambda: shell, display=lambda *_, **__: None)
        self.errors: dict[str, str] = {}
        self._seconds, self._cell_seconds = seconds, cell_seconds
        self._future = 0
        self._loop = None

    def run(self, name: str, source: str) -> None:
        """Run one cell, to its end. It may raise anything."""
        try:
            with self._alarm(self._cell_seconds):
                statements, file = self._parse(name, source)
        except BaseException as error:
            self.errors.setdefault(name, explain(error))
            return
        self.run_statements(statements, file, name)

    def run_statements(self, statements: list[ast.stmt], file: str, name: str) -> None:
        left = self._cell_seconds
        for statement in statements:
            definition = isinstance(statement, DEFINITIONS)
            if not definition and (left <= 0 or self._seconds <= 0):
                continue
            limit = _seconds_of(statement) if definition else min(left, self._seconds)
            before = self._seconds
            try:
                with self._alarm(limit):
                    self._execute(statement, file)
            except BaseException as error:  # a cell may raise anything; the others still run
                self.errors.setdefault(name, explain(error))
            left -= before - self._seconds

    def run_text(self, text: str) -> None:
        """What a magic runs, inside the statement that calls it."""
        statements, file = self._parse("magic", text)
        for statement in statements:
            self._execute(statement, file)

    def _parse(self, name: str, source: str) -> tuple[list[ast.stmt], str]:
        file = f"<{name}>"
        text = TransformerManager().transform_cell(source)
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # torch.jit.script reads it
        flags = ast.PyCF_ONLY_AST | AWAIT | self._future
        return compile(text, file, "exec", flags=flags, dont_inherit=True).body, file

    def _execute(self, statement: ast.stmt, file: str) -> None:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                feature = getattr(__future__, alias.name, None)
                self._future |= feature.compiler_flag if feature else 0
        module = ast.Module([statement], [])
        code = compile(module, file, "exec", flags=AWAIT | self._future, dont_inherit=True)
        result = eval(code, self.namespace)
        if code.co_flags & inspect.CO_COROUTINE:
            self._loop = self._loop or asyncio.new_event_loop()
            self._loop.run_until_complete(result)

    @contextmanager
    def _alarm(self, seconds: float):
        def ring(*_):
            raise TooLong(f"the cell took longer than {self._cell_seconds:.0f} seconds")

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            self._seconds -= seconds - signal.setitimer(signal.ITIMER_REAL, 0)[0]


class _Shell:
    """What `%`, `!` and `?` become, and `get_ipython()`: it runs Python, writes files, and nothing else."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def run_line_magic(self, name: str, line: str, *_, **__) -> None:
        if name == "time":
            self._cells.run_text(line)

    def run_cell_magic(self, name: str, line: str, text: str) -> None:
        if name in RUNNING:
            self._cells.run_text(text)
        elif name in ("writefile", "file"):
            with open(line.split()[-1], "a" if "-a" in line.split() else "w") as file:
                file.write(text)

    def getoutput(self, *_, **__) -> list[str]:
        return []

    def __getattr__(self, name: str):
        return lambda *_, **__: None


def explain(error: BaseException) -> str:
    """The learner's own lines and the error, short."""
    if isinstance(error, NotImplementedError) and not str(error):
        return "not written"
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<") and not frame.filename.startswith(("<frozen ", "<check>")):
            lines.append(f"  line {frame.lineno} of {frame.name}")
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(f"  line {error.lineno}: {(error.text or '').strip()}")
    try:
        said = str(error)
    except Exception:
        said = "(an error that cannot be shown)"
    return "\n".join([*lines[-8:], f"{type(error).__name__}: {said}"])[:2000]
