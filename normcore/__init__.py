"""normcore: normalization in deep learning, one idea and every method that follows from it.

A normalization averages over an index set, then scales and shifts. `normcore.functional.standardize`
says this once; `normcore.functional` and `normcore.nn` hold the methods, with the names, arguments and
state dicts of `torch.nn.functional` and `torch.nn`.
"""

import importlib

__all__ = ["functional", "gradients", "nn"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """`normcore.nn` without an import of its own; torch is loaded when it is asked for."""
    if name in __all__:
        return importlib.import_module(f"normcore.{name}")
    raise AttributeError(f"module 'normcore' has no attribute {name!r}")
