"""The package's layers, as pyproject.toml states them: no module imports one above it, and none has no place."""

from importlinter.cli import lint_imports

from tests.commands import ROOT


def test_every_import_points_downward(capsys):
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out
