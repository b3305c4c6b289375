"""normcore: normalization in deep learning, one idea and every method that follows from it.

A normalization averages over an index set, then scales and shifts. `normcore.functional.standardize`
says this once; `normcore.functional` and `normcore.nn` hold the methods, with the names, arguments and
state dicts of `torch.nn.functional` and `torch.nn`.
"""

__version__ = "0.1.0"
