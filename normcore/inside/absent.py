"""Packages that the sandbox has not, as modules that can be imported; what is in them refuses to be used.

A learner may import the course's package, or scikit-learn, to compare an answer with it.
"""

import importlib.abc
import importlib.machinery
import sys
import types

from . import blocklist

__all__ = ["pretend"]

ABSENT = ("normcore", "sklearn", "scipy.stats")


def pretend() -> None:
    """From now on these packages are what this file makes of them, whether they are installed or not."""
    for name in [n for n in sys.modules if _is_absent(n)]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder())


def _is_absent(name: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in ABSENT)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if _is_absent(name) else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module) -> None:
        if module.__name__.startswith("normcore.checks."):
            # what the notebook imports its check from
            module.check = module.hidden_check = lambda function: None


class _Module(types.ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refusing(name, (), {"__module__": self.__name__})


class _Refusing(type):
    """A class, so that it can be named as a base; it refuses to be called, and so does what is in it."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refusing(f"{cls.__name__}.{name}", (), {"__module__": cls.__module__})

    def __call__(cls, *_, **__):
        name = f"{cls.__module__}.{cls.__qualname__}"
        blocklist.called.add(name)
        raise RuntimeError(f"{name} is not here when your answer is graded: write out what it does")
