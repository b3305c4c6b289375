"""Sphinx extension: a page of the reference for each module, made of its docstrings by autodoc.

    ```{api} normcore.functional
    ```

shows every public name of a module, in the order of its __all__, each under a heading that a search finds and
as a target that pages link to. A formula, which stands indented in a docstring, becomes mathematics.

    ```{methods}
    ```

shows all methods of normcore.functional: index set and formula from the docstring, the layer, the chapter
that uses it first.
"""

import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from formulas import inline, to_tex
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("statistics", "functional", "gradients", "nn", "scaling", "adaptation", "clipping")
SECTIONS = {"Args:", "Attributes:", "Raises:", "Returns:", "Warns:"}
OWN = [str(ROOT / "book" / "_ext" / f"{name}.py") for name in ("api", "formulas")]
LABELS = "Source|Shape"


@cache
def public(module: str) -> dict[str, object]:
    """The functions and classes in a module's __all__."""
    found = importlib.import_module(module)
    things = {name: getattr(found, name) for name in found.__all__}
    return {n: thing for n, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}


@cache
def targets() -> dict[str, list[str]]:
    """Each public name, and the modules that have it."""
    found: dict[str, list[str]] = {}
    for module in MODULES:
        for name in public(f"normcore.{module}"):
            found.setdefault(name, []).append(f"normcore.{module}")
    return found


def source_url(repository: str, branch: str, thing: object) -> str:
    """The lines of the repository where a thing is defined."""
    thing = inspect.unwrap(thing)  # what a decorator returns lies in the decorator's file
    path = Path(inspect.getsourcefile(thing)).resolve().relative_to(ROOT).as_posix()
    return f"{repository}/blob/{branch}/{path}#L{inspect.getsourcelines(thing)[1]}"


def formulas(lines: list[str]) -> list[list[str]]:
    """The indented blocks of a docstring that are no section's content: its formulas."""
    blocks, before, elsewhere = [], "", False
    for line in lines:
        if line and not line.startswith(" "):
            elsewhere = line in SECTIONS or line.startswith(">>> ")  # or what an example prints
        elif line.strip() and not elsewhere:
            blocks[-1].append(line) if before.startswith(" ") else blocks.append([line])
        before = line
    return blocks


def as_rst(module: str, lines: list[str]) -> list[str]:
    """A docstring for Sphinx: formulas as mathematics, names in backticks as links or literals."""
    waiting, result = formulas(lines), []
    for line in lines:
        if waiting and line == waiting[0][0]:
            shown = to_tex(waiting[0]).splitlines()
            result += ["", ".. math::", "", *(f"    {part}" for part in shown), ""]
        if waiting and line in waiting[0]:
            if line == waiting[0][-1]:
                waiting.pop(0)
            continue
        if not line.startswith(">>> "):
            line = re.sub(r"([*|])(?=(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", line)  # outside of backticks
            line = re.sub(rf"^({LABELS}): ", r"**\1:** ", line)
            line = re.sub(r"`([^`]+)`", lambda found: _named(module, found[1]), line)
        result.append(line)
    return result


def _named(module: str, name: str) -> str:
    places = targets().get(name, [])
    if not places:
        return f"``{name}``"
    return f":py:obj:`{name} <{module if module in places else places[0]}.{name}>`"


class Api(SphinxDirective):
    """The public names of one module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        for name in (inspect.getsourcefile(importlib.import_module(module)), *OWN):
            self.env.note_dependency(name)
        return [self._entry(module, name, thing) for name, thing in public(module).items()]

    def _entry(self, module: str, name: str, thing: object) -> nodes.Node:
        if not inspect.getdoc(thing):
            raise self.error(f"{module}.{name} has no docstring")
        kind = "autoclass" if inspect.isclass(thing) else "autofunction"
        section = nodes.section(ids=[nodes.make_id(f"{module}-{name}")], names=[])
        section += nodes.title("", "", nodes.literal(text=name))
        lines = ["```{eval-rst}", f".. {kind}:: {module}.{name}", "```"]
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, section)
        options = self.config.html_theme_options
        url = source_url(options["repository_url"], options["repository_branch"], thing)
        section += nodes.paragraph("", "", nodes.reference(text="Source code", refuri=url))
        return section


class Methods(SphinxDirective):
    """A row a method: its name and layer, the index set, the formula, the chapter."""

    def run(self) -> list[nodes.Node]:
        for name in OWN:
            self.env.note_dependency(name)
        lines = ["| Method | Chapter | Index set | Formula |", "|---|---|---|---|"]
        for name, function in public("normcore.functional").items():
            formula, index_set = summary(function)
            self.env.note_dependency(inspect.getsourcefile(inspect.unwrap(function)))
            links = [f"[{name.replace('_', ' ')}](normcore.functional.{name})"]
            if layer := layer_of(name):
                links.append(f"[layer](normcore.nn.{layer})")
            cells = (", ".join(links), chapter(self.env, (name, layer)), index_set or "–", f"${formula}$")
            lines.append(f"| {' | '.join(cells)} |")
        node = nodes.container(classes=["methods"])
        self.state.nested_parse(StringList(lines), self.content_offset, node)
        return [node]


def summary(function: object) -> tuple[str, str]:
    """The formula that gives a method's result, as TeX, and its index set as it is said there, or ""."""
    statements = [
        part.strip().rstrip(",")
        for line in formulas(inspect.getdoc(function).splitlines())[0]
        for part in re.split(r" {2,}", line.strip())
    ]
    sets = [s for s in statements if re.match(r"S\w*( =|:)", s)]
    results = [s for s in statements if s not in sets]
    index_set = re.split(r" = |: ", sets[0], maxsplit=1)[1] if sets else ""
    result = next((s for s in results if s.startswith("y")), results[0])
    return inline(result), index_set


def layer_of(name: str) -> str | None:
    """The layer of a function, by its name."""
    plain = name.replace("_", "")
    for layer in public("normcore.nn"):
        if re.sub(r"\dd$", "", layer).lower() == plain and layer[0].isupper():
            return layer
    return None


def chapter(env, names: tuple[str | None, ...]) -> str:
    """A link, its number, to the first chapter that speaks of one of these names; or a dash."""
    pattern = re.compile("|".join(rf"\b{name}(?:\dd)?\b" for name in names if name))
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))["parts"]
    pages = [page["file"] for part in parts if part.get("numbered") for page in part["chapters"]]
    for number, page in enumerate(pages, 1):
        path = ROOT / f"{page}.md"
        env.note_dependency(str(path))
        if pattern.search(path.read_text("utf-8")):
            return f"[{number}](/{page})"
    return "–"


def process_docstring(app, what, name, thing, options, lines) -> None:
    """Before napoleon sees it."""
    module = next(m for m in (f"normcore.{m}" for m in MODULES) if name.startswith(f"{m}."))
    lines[:] = as_rst(module, lines)


def skip_member(app, what, name, thing, skip, options) -> bool | None:
    """Of what a class inherits, what this package has written stays."""
    owner = getattr(inspect.unwrap(thing), "__module__", None) if callable(thing) else None
    return None if str(owner).startswith("normcore.") and not name.startswith("_") else True


def configure(app, config) -> None:
    """What autodoc and napoleon are to do; here, for all of it belongs together."""
    config.add_module_names = False
    config.autodoc_default_options = {"members": True, "inherited-members": True, "member-order": "bysource"}
    config.autodoc_inherit_docstrings = False
    config.autodoc_preserve_defaults = True  # a function's own repr is an address in memory
    config.autodoc_typehints = "none"  # the docstring says what arguments are
    config.napoleon_use_param = False  # "weight, bias: …" is one line for two arguments
    config.toc_object_entries = False  # each name has a heading
    errors = "ValueError|RuntimeError|TypeError|IndexError|NotImplementedError|UserWarning"
    config.nitpick_ignore_regex = [("py:exc", errors), *config.nitpick_ignore_regex]


def setup(app) -> dict:
    """Sphinx calls this."""
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    app.add_directive("api", Api)
    app.add_directive("methods", Methods)
    app.connect("config-inited", configure)
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_member)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
