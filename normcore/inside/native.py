"""Ways from Python to native code past torch's dispatcher, taken out of a process and all that it forks.

What is refused lies in the dispatcher (`blocklist.py`). Beside it there are TorchScript's other interpreters,
some with a layer norm of their own, and ctypes, which calls any function and writes to any memory. No answer
needs them. They are deleted, not hidden: afterwards no name and no table of Python refers to them.
"""

import _ctypes
import ctypes
import gc
import re
import sys

import torch

__all__ = ["close_ctypes", "close_interpreters", "forget_in_type"]

# Graphs from text, passes that rewrite or differentiate them, the static runtime, NNC, oneDNN's, AOTInductor.
INTERPRETERS = re.compile(
    r"parse_ir|_te|_aoti|StaticModule|_fuse_to_static_module|_create_function_from_graph|_load_for_lite\w*"
    r"|_jit_pass_(?!canonicalize$|erase_shape_information$|inline$|lint$)\w+"  # those check a trace
    r"|_jit_(set|texpr|override|to_backend|to_static|decomposition|register_decomposition)_\w+"
    r"|_jit_(to_backend|differentiate|interpret_graph|replace_submodule)|_set_graph_executor_optimize"
)
GRAPH = ("appendNode", "create", "createClone", "insertGraph", "insertNode", "prependNode")
PACKAGES = ("ctypes", "_ctypes")
POINTING = ("from_address", "from_buffer", "from_buffer_copy", "in_dll")
TP_NEW = 65  # of Python's stable interface


def close_interpreters() -> None:
    """Take TorchScript's other interpreters out. What `torch.jit.script` makes is run as it is written."""
    torch._C._set_graph_executor_optimize(False)  # or it would differentiate
    taken = [name for name in dir(torch._C) if INTERPRETERS.fullmatch(name)]
    # Python keeps a copy of an extension module's names, and an import fills it in again
    for table in _tables(torch._C, "parse_ir"):
        for name in taken:
            table.pop(name, None)
    for name in GRAPH:
        delattr(torch._C.Graph, name)


def _tables(module, name: str) -> list[dict]:
    own = vars(module)
    return [d for d in gc.get_objects() if type(d) is dict and name in d and d[name] is own[name]] or [own]


# found while they can be: what is frozen for forks is no longer listed
_TABLES = _tables(_ctypes, "dlopen")


def close_ctypes() -> None:
    """Take ctypes out: the modules are empty, no object of its types can be made, none points to memory."""
    kinds, more = set(), {_ctypes._SimpleCData.__base__}
    while more:
        kinds |= more
        more = {k for kind in more for k in type.__subclasses__(kind)} - kinds
    get = ctypes.pythonapi.PyType_GetSlot
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
    slots = []
    for kind in kinds:
        words = (ctypes.c_void_p * 64).from_address(id(kind))
        slots += [(words, i) for i, word in enumerate(words) if word and word == get(kind, TP_NEW)]
    for meta in {m for kind in kinds for m in type(kind).__mro__}:
        for name in POINTING:
            forget_in_type(meta, name)
    for words, i in slots:
        words[i] = None
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES:
            _empty(vars(module))
    for table in _TABLES:
        _empty(table)


def forget_in_type(kind: type, name: str, instead: object = None) -> None:
    """Delete or replace an attribute of a type, also of one that Python lets nobody change."""
    (table,) = gc.get_referents(kind.__dict__) if name in kind.__dict__ else ({},)
    if name in table:
        if instead is None:
            del table[name]
        else:
            table[name] = instead
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _empty(table: dict) -> None:
    for name in [n for n in table if not n.startswith("__")]:
        del table[name]
