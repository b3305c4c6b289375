"""Runs a function on plain inputs and returns plain outputs. It holds no reference and judges nothing.

Needs torch and numpy only, so that this one file can run where nothing else of the course is.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = [
    "OutputError",
    "Watch",
    "WatchModules",
    "gradients",
    "run",
    "tensors",
    "unwatched",
    "with_gradient",
]

SOURCE_NAME = "<check>"
# What runs while a function is watched, and is not the function: what it prints goes through the second.
OURS = (__name__, "normcore.checks.notebook", "normcore.checks.tell_apart")


class OutputError(Exception):
    """The function returned something that is no array of numbers."""


def run(
    source: str,
    name: str,
    function: object,
    inputs: Mapping[str, object],
    outputs: tuple[str, ...],
    changed: set[str] | None = None,
) -> dict[str, np.ndarray]:
    """Run `source` with `function` under its name and the inputs under theirs.

    Args:
        source: lines of Python, such as "y = batch_norm(x, gamma, beta, eps)"; torch and the helpers of
            this file, `with_gradient` and `gradients`, are defined in it.
        name: the name by which `source` calls `function`.
        inputs: numpy arrays become tensors (a fresh copy each); anything else is passed as it is.
        outputs: the variables of `source` to return.
        changed: gets the names of the arrays that the function changed in place.

    Returns:
        Each output as a numpy array of float64 (or bool), with the shape that the function gave it.

    Raises:
        OutputError: an output that is no tensor, array or number.
        Exception: whatever the function raises.
    """
    given: dict[str, Any] = tensors(inputs)
    helpers = {"torch": torch, "with_gradient": with_gradient, "gradients": gradients}
    namespace = {**helpers, name: function, **given}
    exec(_compiled(source), namespace)
    if changed is not None:
        arrays = {k: v for k, v in inputs.items() if isinstance(v, np.ndarray)}
        changed |= {k for k, v in arrays.items() if not np.array_equal(_values(given[k]), v, equal_nan=True)}
    return {output: _plain(output, namespace[output]) for output in outputs}


@cache
def _compiled(source: str):
    return compile(source, SOURCE_NAME, "exec")


def tensors(inputs: Mapping[str, object]) -> dict[str, object]:
    """The inputs as a function gets them: a fresh tensor for each array, anything else as it is."""
    return {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}


def with_gradient(function: Callable, x: torch.Tensor) -> tuple[object, torch.Tensor]:
    """What `function(x)` returns, and the gradient of ⟨R, its first output⟩ to x, for a fixed R like noise.

    The gradient is empty where none comes out: an answer in numpy is an answer.
    """
    leaf = x.clone().requires_grad_()
    given = leaf.clone()  # which may be changed in place, as x may
    try:
        returned = function(given)
    except Exception:  # numpy takes no tensor that records a graph
        return function(x), torch.empty(0)
    x.copy_(given.detach())
    first = returned[0] if isinstance(returned, tuple) else returned
    try:
        (gradient,) = torch.autograd.grad(_against_noise(first), leaf)
    except Exception:
        return returned, torch.empty(0)
    return returned, gradient


def gradients(y: object, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The gradient of ⟨R, y⟩ to each of the inputs, for a fixed R like noise; 0 where none arrives."""
    leaves = [v for v in inputs if v.requires_grad]
    found = [None] * len(leaves)
    if isinstance(y, torch.Tensor) and y.requires_grad:
        found = torch.autograd.grad(_against_noise(y), leaves, allow_unused=True)
    arrived = {id(leaf): g for leaf, g in zip(leaves, found, strict=True) if g is not None}
    return tuple(arrived.get(id(v), torch.zeros_like(v)) for v in inputs)


# What R is multiplied with, from its size; a judge who asks how far rounding reaches changes it.
_shaken: Callable[[int], np.ndarray] | None = None


@contextlib.contextmanager
def shaken_noise(u: float, rng: np.random.Generator) -> Iterator[None]:
    """While open, each entry of R is off by up to a relative u, as rounding makes it."""
    global _shaken
    _shaken = lambda size: 1 + u * rng.uniform(-1, 1, size)  # noqa: E731
    try:
        yield
    finally:
        _shaken = None


def _against_noise(y: torch.Tensor) -> torch.Tensor:
    """⟨R, y⟩, with sines of 1, 2, 3, … for R: neither constant nor in line with what normalization removes.

    One number: for the gradient of a table, autograd would import torch's compiler.
    """
    noise = torch.arange(1, y.numel() + 1, dtype=y.dtype, device=y.device).sin()
    if _shaken:
        noise = noise * torch.from_numpy(_shaken(y.numel()))
    return (y * noise.reshape(y.shape)).sum()


def _values(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _plain(name: str, value: object) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        # numpy has no bfloat16
        value = value.double().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        array = np.asarray(value)
        if array.dtype.kind in "fiu":
            return array.astype(np.float64)
        if array.dtype.kind == "b":
            return array
        what = f"of {array.dtype}"
    else:
        what = "None: is a return missing?" if value is None else f"a {type(value).__name__}"
    raise OutputError(f"{name} must be a tensor of numbers, but it is {what}")


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """While open, nothing is watched: what runs is not the learner's."""
    profile = sys.getprofile()
    sys.setprofile(None)
    try:
        with _disable_current_modes():
            yield
    finally:
        sys.setprofile(profile)


class WatchModules:
    """Records which of the forbidden modules run while it is open, by the frames that they run.

    Args:
        forbidden: "normcore" for a module and all below it, "torch._refs:_norm" for those functions of it
            that have "_norm" in their name; names of operators are passed over.
    """

    def __init__(self, forbidden: frozenset[str]) -> None:
        self._modules = [name.partition(":")[::2] for name in forbidden if "::" not in name]
        self.seen: set[str] = set()

    def __enter__(self) -> "WatchModules":
        self._previous = sys.getprofile()
        sys.setprofile(self._frame)
        return self

    def __exit__(self, *exception) -> None:
        sys.setprofile(self._previous)

    def _frame(self, frame, event, _argument) -> None:
        if event != "call":
            return
        module = frame.f_globals.get("__name__") or ""
        if module in OURS:
            return
        for name, part in self._modules:
            if (module == name or module.startswith(name + ".")) and part in frame.f_code.co_name:
                self.seen.add(f"{module}.{frame.f_code.co_name}" if part else name)


class Watch(TorchDispatchMode):
    """Records which of the forbidden operators and modules are called while it is open.

    Operators are seen where torch dispatches them, so it does not matter by which name or through which
    layer they were reached.

    Args:
        forbidden: "aten::native_batch_norm" for an operator, "normcore" for a module and all below it.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else the first operator imports torch's whole compiler: seconds, in a learner's first check."""
        return False

    def __init__(self, forbidden: frozenset[str]) -> None:
        super().__init__()
        self.forbidden = forbidden
        self._modules = WatchModules(forbidden)

    @property
    def seen(self) -> set[str]:
        return self._modules.seen

    def __enter__(self) -> "Watch":
        result = super().__enter__()
        self._modules.__enter__()
        return result

    def __exit__(self, *exception) -> None:
        self._modules.__exit__(*exception)
        super().__exit__(*exception)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        operator = func._schema.name
        if operator in self.forbidden:
            self.seen.add(operator)
        return func(*args, **(kwargs or {}))
