"""What pip builds has the answers of the checks sealed, as students' tree; the rest is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sealed = runpy.run_path(str(Path(__file__).parent / "normcore/checks/answers.py"))["sealed"]


class SealedBuild(build_py):
    def build_module(self, module, module_file, package):
        outfile, copied = super().build_module(module, module_file, package)
        if Path(module_file).parent.name == "checks":
            path = Path(outfile)
            path.write_text(sealed(path.read_text("utf-8")), "utf-8")
        return outfile, copied


setup(cmdclass={"build_py": SealedBuild})
