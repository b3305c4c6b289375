"""What does a task for the learner, taken out of torch: in this process, and in all that it forks.

Which names those are, `normcore.checks.forbidden` says.
"""

import ctypes
import sys
import types
import warnings

import torch

from . import native

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
# Beside the operators that a problem set forbids: the way to oneDNN's tensors, whose layer norm TorchScript
# calls past the dispatcher.
ALSO = {"aten::to_mkldnn"}


def take_away(forbidden: set[str]) -> None:
    """Make everything refuse that a problem set forbids.

    Args:
        forbidden: "aten::native_batch_norm" for an operator, "torch._refs:_norm" for functions of a module
            and all below it that have "_norm" in their name. A name of torch.autograd takes autograd away.
    """
    operators = {name for name in forbidden if name.startswith("aten::")}
    _operators(operators | ALSO if operators else operators)
    for name in sorted(forbidden):
        module, _, part = name.partition(":")
        if part and not part.startswith(":"):
            _functions(module, part)
    if any(name.startswith("torch.autograd") for name in forbidden):
        _operators({"aten::_backward"})
        engine = type(torch.autograd.Variable._execution_engine)
        native.forget_in_type(engine, "run_backward", _refusal("torch.autograd"))
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
    _bury(library)


def _bury(library) -> None:
    """Take what holds the replacements out of its Python object: it is never freed, and cannot be reset.

    The object stays for ever, empty: pybind11 keeps two pointers behind its head, which become null.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
    pointers = (ctypes.c_void_p * 2).from_address(id(library) + object.__basicsize__)
    if not pointers[0] or pointers[0] != pointers[1]:
        raise RuntimeError("this version of torch keeps its libraries in another way")
    pointers[0] = pointers[1] = None


def _refusal(name: str):
    def refuse(*_, **__):
        called.add(name)
        raise RuntimeError(f"{name} does the task: write out the formula instead")

    return refuse


def _functions(module: str, part: str) -> None:
    """The same for functions of a module, and of all below it, that have `part` in their name.

    They are emptied where they are: whoever holds one, such as a table of torch's, holds the refusal.
    """
    for where in [m for name, m in list(sys.modules.items()) if f"{name}.".startswith(f"{module}.")]:
        for name, value in list(vars(where).items()):
            if callable(value) and part in name:
                refuse = _refusal(f"{where.__name__}.{name}")
                for function in _inner(value):
                    _replace(function, refuse)
                if not isinstance(value, types.FunctionType):
                    setattr(where, name, refuse)


def _inner(value: object) -> list[types.FunctionType]:
    """A function, and those that it was wrapped around."""
    found, more = [], [value]
    while more:
        value = more.pop()
        if isinstance(value, types.FunctionType) and value not in found:
            found.append(value)
            more += [getattr(value, "__wrapped__", None), *(_content(c) for c in value.__closure__ or ())]
    # a wrapper's closure also holds helpers that others use
    return [f for f in found if f is found[0] or f.__name__ == found[0].__name__]


def _content(cell) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def _template(*arguments, _refuse, **named):
    return _refuse(*arguments, **named)


def _replace(function: types.FunctionType, refuse) -> None:
    """Give a function another one's work, in place; the code that it had is gone."""
    function.__code__ = _template.__code__.replace(co_freevars=function.__code__.co_freevars)
    function.__kwdefaults__ = {"_refuse": refuse}


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
    _bury(library)
