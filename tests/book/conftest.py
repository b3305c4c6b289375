"""The site, built once for all tests and processes."""

import pytest
from filelock import FileLock

from tests.chromium import browser, watched  # noqa: F401 fixtures
from tests.commands import run


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """A failing cell, a broken reference or any other warning ends its build."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "site"
    html = folder / "_build" / "html"
    with FileLock(f"{folder}.lock"):
        if not (folder / "built").exists():
            run("jupyter-book", "build", "-W", "-n", "--keep-going", "--path-output", folder, ".")
            (folder / "built").touch()
    return html
