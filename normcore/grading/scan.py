"""What a learner's code names that its reader should look at. It costs no points by itself.

Whether a built-in was called is found where it is called. This reads the source, for a person: code that
compares itself with the built-in is fine, and so may be code that looks at frames; whoever grades decides.
"""

import ast
import builtins
import re
from itertools import islice
from operator import itemgetter

__all__ = ["mentions", "steps"]

# By what one reaches around the rules, or out of one's own function.
TOOLS = re.compile(
    r"(ctypes|gc|inspect|socket|subprocess|multiprocessing|concurrent|normcore|inside)(\..*)?"
    r"|(cffi|pty|scipy|numpy\.ctypeslib|builtins|runpy|pickle|marshal)(\..*)?"
    r"|sys\.(_getframe|_current_frames|setprofile|settrace|modules|addaudithook|monitoring)"
    r"|threading\.(setprofile|settrace)(_all_threads)?"
    r"|os\.(fork\w*|exec\w*|(posix_)?spawn\w*|system|popen|kill|_exit)"
    r"|torch\.(_C|ops|_refs|_decomp|_VF|_inductor|_dynamo|_prims|library|jit|nested|testing\._\w+|export|fx)(\..*)?"
    r"|torch\.multiprocessing(\..*)?"
    r"|.+\.(__array_interface__|__array_struct__|__globals__|__code__|__subclasses__|__builtins__|f_locals|f_back|f_globals|tb_frame)(\..*)?"
    r"|(eval|exec|compile|__import__|__builtins__|globals|importlib(\..*)?)"
)
BUILT_IN = re.compile(
    r".+\.(native_|_native_)?(batch|instance|layer|group|rms)_norm\w*"
    r"|.+\.zscore"
    r"|.+\.(Batch|Instance|Layer|Group|RMS)Norm\w*|.+\.(\w*Scaler|normalize|scale)"
)
# and by what a derivative is had without the formula: numbers with an imaginary part
AUTOGRAD = re.compile(
    r"torch\.(autograd|func)(\..*)?|.+\.backward|.+\.(imag|complex(64|128)?|cfloat|cdouble)"
)
SHOWN, MOST = 80, 10  # characters of a name, and names of a cell
KEPT = 200
BUILTINS = frozenset(dir(builtins))
# imported or written at the start of every notebook, under these names
ALIASES = {"F": "torch.nn.functional", "nn": "torch.nn", "np": "numpy"}


def mentions(source: str, forbidden: frozenset[str]) -> list[str]:
    """Names in a cell that somebody should look at, each with its first line.

    Args:
        source: of the cell; one that is no Python has none.
        forbidden: of the check: its built-ins are looked for, and autograd where it is among them.

    Returns:
        Such as ["torch.nn.functional.batch_norm (line 4)"].
    """
    tree = _parsed(source)
    if tree is None:
        return []
    patterns = [TOOLS, BUILT_IN] + [AUTOGRAD] * any(name.startswith("torch.autograd") for name in forbidden)
    found: dict[str, int] = {}
    for name, line in sorted(_names(tree), key=itemgetter(1, 0)):
        if any(pattern.fullmatch(name) for pattern in patterns):
            found.setdefault(name if len(name) <= SHOWN else f"{name[:SHOWN]}…", line)
    told = [f"{name} (line {line})" for name, line in islice(found.items(), MOST)]
    return told + [f"and {len(found) - MOST} more"] * (len(found) > MOST)


def steps(source: str) -> list[str]:
    """Where a cell goes a step there and back, as numerical derivatives do: f(x + h) beside f(x − h) or f(x),
    or `x[i] += h` beside `y[i] -= h`.

    Returns:
        Such as ["forward at two points a step apart (line 7)"].
    """
    tree = _parsed(source)
    points: dict[tuple[str, str], dict[str, int]] = {}

    def note(name: str, at: ast.expr, way: str, line: int) -> None:
        width = (at.end_col_offset or 0) - at.col_offset
        if at.lineno == at.end_lineno and width <= KEPT:  # a longer one may be deep
            points.setdefault((name, ast.unparse(at)), {}).setdefault(way, line)

    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in BUILTINS:
            for argument in node.args:
                if isinstance(argument, ast.BinOp) and isinstance(argument.op, (ast.Add, ast.Sub)):
                    note(node.func.id, argument.left, type(argument.op).__name__, node.lineno)
                else:
                    note(node.func.id, argument, "", node.lineno)
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
            note("a value", node.value, type(node.op).__name__, node.lineno)
    return [
        f"{_short(name)} at two points a step apart (line {min(lines.values())})"
        for (name, _), lines in points.items()
        if len(lines) > 1
    ][:MOST]


def _parsed(source: str) -> ast.Module | None:
    """None for what is no Python."""
    try:
        return ast.parse(re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.M))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _short(name: str) -> str:
    """Both ends of a long name: it may stand for itself in thousands of others."""
    return name if len(name) <= KEPT else f"{name[: KEPT // 2]}…{name[-KEPT // 2 :]}"


def _names(tree: ast.AST) -> set[tuple[str, int]]:
    """Dotted names as they are read and imported; of a chain, the whole only."""
    aliases, found, inner = dict(ALIASES), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                top, whole = name.name.partition(".")[0], _short(name.name)
                aliases[name.asname or top] = whole if name.asname else _short(top)
                found.add((whole, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                whole = _short(f"{node.module or ''}.{name.name}")
                aliases[name.asname or name.name] = whole
                found.add((whole, node.lineno))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            parts, base = [node.attr], node.value
            while isinstance(base, ast.Attribute):
                inner.add(id(base))
                parts.append(base.attr)
                base = base.value
            if isinstance(base, ast.Name):
                inner.add(id(base))
                start = aliases.get(base.id, base.id)
            else:
                start = "(…)"
            found.add((_short(".".join([start, *reversed(parts)])), node.lineno))
        elif isinstance(node, ast.Name) and id(node) not in inner:
            found.add((_short(aliases.get(node.id, node.id)), node.lineno))
    return found
