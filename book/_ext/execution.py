"""Sphinx extension: pages are executed before they are read, in parallel, and again only where they must be.

MyST-NB executes a page whose cells are not in its cache, one after the other, and does not see that a module
which a page imports has changed. Here a page depends on what its cells import of this package, directly or
not, and on the stored results of those experiments. A page that changed, or whose imports did, is executed
into the same cache, one process a core, so that MyST-NB finds it there.
"""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path

import grimp
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.entry_points import ENTRY_POINT_GROUP_EXEC, get_entry_point
from myst_nb.core.read import myst_nb_reader_plugin
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "normcore"
# what a page may depend on beside its imports: other versions of torch draw other numbers
ENVIRONMENT = ROOT / "constraints.txt"


@cache
def imports() -> grimp.ImportGraph:
    """Which module of the package imports which."""
    return grimp.build_graph(PACKAGE, cache_dir=None)


def dependencies(notebook: nbformat.NotebookNode) -> list[Path]:
    """The files of the package that cells import, directly or not, with those modules' stored results."""
    modules = set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for name in _imported(cell.source):
                parts = name.split(".")
                modules |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    modules &= imports().modules
    modules |= {above for module in modules for above in imports().find_upstream_modules(module)}
    files = set()
    for module in modules:
        path = ROOT / Path(*module.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        results = source.parent / "results" / f"{path.name}.json"
        files |= {source, results} if results.is_file() else {source}
    return sorted(files)


def _imported(source: str) -> list[str]:
    """Dotted names that a cell imports; `from a import b` may be of a module a.b or of a name in a."""
    found = []
    for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{name.name}" for name in node.names]
    return found


def fingerprint(files: list[Path]) -> str:
    """SHA-256 of the files' names and contents."""
    hashed = hashlib.sha256()
    for path in files:
        hashed.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return hashed.hexdigest()


def execute(app, env, added, changed, removed) -> list[str]:
    """Fill the cache with every page that has code, before Sphinx reads any; `env.executed` says when.

    Returns:
        Pages that Sphinx must read again though their text is as before: what they import is not.

    Raises:
        ExtensionError: a cell failed; with the page and its traceback.
    """
    config = env.mystnb_config
    folder = Path(config.execution_cache_path)
    store = get_cache(str(folder))
    record = folder / "imports.json"
    before = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    now, pages, waiting = {}, {}, []
    for name in sorted(env.found_docs):
        path = Path(env.doc2path(name))
        if "\njupytext:" not in path.read_text("utf-8"):  # as MyST-NB tells a notebook from a page
            continue
        notebook = pages[name] = myst_nb_reader_plugin(str(path))
        now[name] = fingerprint([*dependencies(notebook), ENVIRONMENT])
        try:
            cached = store.match_cache_notebook(notebook)
        except KeyError:
            cached = None
        if cached and before.get(name) != now[name]:
            store.remove_cache(cached.pk)
        if not cached or before.get(name) != now[name]:
            project = store.add_nb_to_project(str(path), read_data={"name": "myst_nb_md", "type": "plugin"})
            waiting.append(project.pk)
    if waiting:
        executor = get_entry_point(ENTRY_POINT_GROUP_EXEC, "local-parallel").load()(store)
        done = executor.run_and_cache(filter_pks=waiting, timeout=config.execution_timeout)
        if failed := [*done.excepted, *done.errored]:
            told = [f"{uri}\n{store.get_project_record(uri).traceback or ''}" for uri in failed]
            raise ExtensionError("pages failed to execute:\n" + "\n".join(told))
    record.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", "utf-8")
    env.executed = {name: store.match_cache_notebook(notebook).created for name, notebook in pages.items()}
    read, env.read_with = getattr(env, "read_with", {}), now
    return [name for name in now if read.get(name) != now[name]]


def setup(app) -> dict:
    """Sphinx calls this."""
    app.connect("env-get-outdated", execute)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True}
