"""What is installed: one version, few requirements, a wheel that works outside the repository, and a stranger's name."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import normcore
from normcore.__main__ import main
from normcore.checks.answers import sealed
from scripts import notebooks
from tests.commands import ROOT

# everything but torch, numpy and what these need themselves
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"matplotlib", "sklearn", "scipy", "pandas", "nbformat", "nbclient", "nbgrader",
                                      "jupytext", "distributed", "dask", "tqdm", "cryptography", "hypothesis", "triton"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
LIBRARY = [
    "functional",
    "gradients",
    "kernels",
    "nn",
    "adaptation",
    "bench",
    "clipping",
    "scaling",
    "statistics",
    "__main__",
]


def python(code, folder, *options, **variables):
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_version_stands_in_one_place(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"normcore {normcore.__version__}\n"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == normcore.__version__
    assert f"## {normcore.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert not re.search(r"^version = \"", (ROOT / "pyproject.toml").read_text(), re.M)


def test_torch_and_numpy_are_enough_for_the_library_and_come_when_they_are_asked_for(tmp_path):
    code = BLOCK + "import normcore\nassert 'torch' not in sys.modules\n"
    code += "normcore.nn.LayerNorm, normcore.functional.standardize\nimport torch\n"
    code += "".join(f"import normcore.{name}\n" for name in LIBRARY)
    code += "print(normcore.nn.LayerNorm(3)(torch.ones(2, 3)).shape)\nassert 'matplotlib' not in sys.modules"
    result = python(code, tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr


def test_a_module_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'normcore' has no attribute 'layers'"):
        normcore.layers  # noqa: B018


def test_the_wheel_works_outside_the_repository(tmp_path):
    pytest.importorskip("setuptools", "77", reason="setuptools 77 is needed to build without the network")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if tracked.returncode:
        pytest.skip("no git clone")
    source = tmp_path / "source"
    for name in filter(None, tracked.stdout.split("\0")):
        if name.startswith("normcore/") or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = "import setuptools.build_meta as b; print(b.build_wheel('..'))"
    result = python(build, source)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"normcore_dl-{normcore.__version__}-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
        (metadata,) = (n for n in names if n.endswith("METADATA"))
        checks = {n: archive.read(n).decode() for n in names if re.search(r"/ps\d\d\.py$", n)}
        required = re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.M)
    assert checks and all(text == sealed((ROOT / n).read_text("utf-8")) for n, text in checks.items())
    assert not any("@answer" in text for text in checks.values())
    assert {
        "normcore/py.typed",
        "normcore/checks/model_answers.json",
        "normcore/experiments/results/growth.json",
    } <= set(names)
    assert {n.partition("/")[0] for n in names} == {"normcore", metadata.partition("/")[0]}
    assert {re.match(r"\w+", r)[0] for r in required if "extra ==" not in r} == {"torch", "numpy"}
    code = (
        BLOCK
        + "import normcore, torch\nprint(normcore.__file__, normcore.nn.RMSNorm(3)(torch.ones(2, 3)).sum().item())"
    )
    result = python(code, tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert result.returncode == 0, result.stderr
    path, total = result.stdout.split()
    assert Path(path).is_relative_to(tmp_path) and float(total) == pytest.approx(6, rel=1e-4)


SETUP = notebooks.SETUP.format(url="https://example.org/course")
COLAB = """
import subprocess, sys, types
sys.modules["google"], sys.modules["google.colab"] = types.ModuleType("google"), types.ModuleType("google.colab")
subprocess.run = lambda command, **_: print(*command[1:]) or types.SimpleNamespace(returncode=0)
"""
INSTALL = "-m pip install -q normcore-dl[course] @ git+https://example.org/course"


# without site-packages, where an editable installation finds the course even behind a stranger
@pytest.fixture
def stranger(tmp_path):
    """PyPI's normcore: an import of that name works, and has nothing of the course."""
    (tmp_path / "normcore").mkdir()
    (tmp_path / "normcore" / "__init__.py").write_text("class Agent: ...\n")
    return tmp_path


def test_the_setup_cell_passes_where_the_course_is_installed(tmp_path):
    result = python(SETUP, tmp_path, PYTHONPATH=str(ROOT))
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_the_setup_cell_knows_a_strangers_normcore(stranger):
    result = python(SETUP, stranger, "-S", PYTHONPATH=str(stranger))
    assert result.returncode == 1
    for words in (
        "another project of that name",
        "pip uninstall normcore\n",
        'pip install "normcore-dl[course] @ git',
    ):
        assert words in result.stderr
    result = python(COLAB + SETUP, stranger, "-S", PYTHONPATH=str(stranger))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["-m pip uninstall -q -y normcore", INSTALL]


def test_the_setup_cell_where_nothing_is_installed(tmp_path):
    missing = "import sys\nsys.modules['normcore'] = None\n"
    result = python(missing + SETUP, tmp_path, "-S")
    assert result.returncode == 1
    assert "another project" not in result.stderr and "pip uninstall" not in result.stderr
    assert 'pip install "normcore-dl[course] @ git' in result.stderr
    result = python(missing + COLAB + SETUP, tmp_path, "-S")
    assert result.stdout.splitlines() == [INSTALL], result.stderr


def test_the_floors_are_no_higher_than_what_the_tests_run_with():
    from importlib.metadata import version

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    text = (ROOT / "pyproject.toml").read_text()
    for requirement in re.findall(r'"((?:torch|numpy|matplotlib|scikit-learn)>=[^"]*)"', text):
        needed = Requirement(requirement)
        assert needed.specifier.contains(version(needed.name).partition("+")[0]), requirement
    assert SpecifierSet(re.search(r'requires-python = "(.*)"', text)[1]).contains("3.10.0")
