"""What does a task for the learner, taken out of torch: in this process, and in all that it forks."""

import ctypes
import sys
import warnings

import torch

__all__ = ["called", "take_away"]

# What a task called though it is taken away.
called: set[str] = set()
KEYS = (
    "CPU",
    "MkldnnCPU",
    "QuantizedCPU",
    "SparseCPU",
    "SparseCsrCPU",
    "NestedTensorCPU",
    "Meta",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
    "CompositeImplicitAutograd",
    "CompositeImplicitAutogradNestedTensor",
)


def take_away(forbidden: set[str]) -> None:
    """Make everything refuse that a problem set forbids.

    Args:
        forbidden: "aten::native_batch_norm" for an operator, "torch._refs:_norm" for functions of a module
            and all below it that have "_norm" in their name. A name of torch.autograd takes autograd away.
    """
    _operators({name for name in forbidden if name.startswith("aten::")})
    for name in sorted(forbidden):
        module, _, part = name.partition(":")
        if part and not part.startswith(":"):
            _functions(module, part)
    if any(name.startswith("torch.autograd") for name in forbidden):
        _autograd()


def _operators(operators: set[str]) -> None:
    """Replace operators by one that refuses, in this process and all that it forks.

    To watch for them would not do: code in the same process can look away, or run in a thread of its own.
    The replacement lies in torch's dispatcher, and nothing in Python refers to it. It is put wherever there
    is a kernel: for every kind of tensor that needs no device, and for operators composed of others.
    """
    library = torch._C._dispatch_library("IMPL", "aten", "", __file__, 0)
    names = [n for n in torch._C._dispatch_get_all_op_names() if n.split(".")[0] in operators]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(names):
            for key in KEYS:
                if torch._C._dispatch_has_kernel_for_dispatch_key(name, key):
                    library.impl(name.removeprefix("aten::"), key, _refusal(name.split(".")[0]))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))  # never freed, so never undone


def _refusal(name: str):
    def refuse(*_, **__):
        called.add(name)
        raise RuntimeError(f"{name} does the task: write out the formula instead")

    return refuse


def _functions(module: str, part: str) -> None:
    """The same for functions of a module, and of all below it, that have `part` in their name."""
    loaded = [m for name, m in sys.modules.items() if f"{name}.".startswith(f"{module}.")]
    taken = {}
    for where in loaded:
        for name, value in list(vars(where).items()):
            if callable(value) and part in name:
                taken[id(value)] = _refusal(f"{where.__name__}.{name}")
                setattr(where, name, taken[id(value)])
    # torch keeps them by operator, too
    for where in loaded:
        for table in [v for v in vars(where).values() if isinstance(v, dict)]:
            for inner in [table, *(v for v in table.values() if isinstance(v, dict))]:
                inner.update({k: taken[id(v)] for k, v in inner.items() if id(v) in taken})


def _autograd() -> None:
    """Torch computes and records no graph: the kernels that record are taken out of the dispatcher.

    That ends `backward()`, `torch.autograd.grad`, `torch.func` and forward mode alike.
    """
    library = torch._C._dispatch_library("IMPL", "aten", "Autograd", __file__, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for operator in torch._C._dispatch_get_all_op_names():
            if operator.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(
                operator, "Autograd"
            ):
                name = operator.removeprefix("aten::")
                library.impl(name, "Autograd", torch.library.fallthrough_kernel)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
