"""Sphinx extension: the package's docstrings as pages.

    ```{api} normcore.functional
    ```

shows every public name of a module, in the order of its __all__: signature, docstring, and where it stands
in the repository. Docstrings are shown as they are written, in their own line breaks: a formula stands there
as it stands beside the code.
"""

import importlib
import inspect
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]


def signature(name: str, thing: object) -> str:
    """`name(arguments)`, without annotations: the docstring says what they are."""
    bare = []
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.name == "self":
            continue
        if inspect.isfunction(parameter.default):  # its own repr is an address in memory
            parameter = parameter.replace(default=_Named(parameter.default.__name__))
        bare.append(parameter.replace(annotation=inspect.Parameter.empty))
    return f"{name}{inspect.Signature(bare)}"


class _Named(str):
    __repr__ = str.__str__


def source_url(repository: str, branch: str, thing: object) -> str:
    """The lines of the repository where a thing is defined."""
    thing = inspect.unwrap(thing)  # what a decorator returns lies in the decorator's file
    path = Path(inspect.getsourcefile(thing)).resolve().relative_to(ROOT).as_posix()
    return f"{repository}/blob/{branch}/{path}#L{inspect.getsourcelines(thing)[1]}"


class Api(SphinxDirective):
    """The public names of one module."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        if not getattr(module, "__all__", None):
            raise self.error(f"{self.arguments[0]} has no __all__")
        self.env.note_dependency(inspect.getsourcefile(module))
        return [self._entry(module.__name__, name, getattr(module, name)) for name in module.__all__]

    def _entry(self, module: str, name: str, thing: object) -> nodes.Node:
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            return nodes.comment("", "a constant")
        if not inspect.getdoc(thing):
            raise self.error(f"{module}.{name} has no docstring")
        self.env.note_dependency(inspect.getsourcefile(thing))
        summary, _, rest = inspect.getdoc(thing).partition("\n")
        section = nodes.section(ids=[nodes.make_id(f"{module}-{name}")], names=[])
        section += nodes.title("", "", nodes.literal(text=name))
        section += nodes.literal_block(text=signature(name, thing), language="python", classes=["signature"])
        section += nodes.paragraph(text=summary)
        if rest.strip():
            section += nodes.literal_block(text=rest.strip("\n"), language="text", classes=["docstring"])
        options = self.config.html_theme_options
        url = source_url(options["repository_url"], options["repository_branch"], thing)
        section += nodes.paragraph("", "", nodes.reference(text="Source", refuri=url))
        return section


def setup(app) -> dict:
    """Sphinx calls this."""
    app.add_directive("api", Api)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
