"""What can be said of a wrong output that is no known mistake's: true of every case, or not said."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["describe", "where"]

Arrays = Sequence[np.ndarray]


def describe(
    name: str,
    failed: Sequence[str],
    given: Sequence[Mapping[str, np.ndarray]],
    expected: Sequence[Mapping[str, np.ndarray]],
    tolerance: Sequence[Mapping[str, np.ndarray]],
    inputs: Sequence[Mapping[str, object]],
) -> str:
    """A sentence on output `name`, the first of those below that holds in all cases; empty where none does.

    Args:
        name: of the output.
        failed: all outputs that are wrong.
        given, expected, tolerance: outputs by name, case by case.
        inputs: of the cases.
    """
    here, right, allowed = ([case[name] for case in values] for values in (given, expected, tolerance))
    if any(g.dtype.kind != "f" or r.dtype.kind != "f" for g, r in zip(here, right, strict=True)):
        return ""
    for other in expected[0]:
        if other in failed and other != name and _agree(here, [case[other] for case in expected], allowed):
            return f"This is what {other} should be: is the order of the outputs right?"
    for key in inputs[0]:
        arrays = [np.asarray(case[key], dtype=float) for case in inputs if _numeric(case[key])]
        if len(arrays) == len(here) and _agree(here, arrays, allowed):
            return f"This is the input {key}, unchanged."
    if not all(_comparable(g, r) for g, r in zip(here, right, strict=True)):
        return ""
    if _agree([-g for g in here], right, allowed):
        return "It is right but for its sign."
    return _constant(here, right, allowed) or _factor(here, right, allowed)


def where(bad: np.ndarray) -> str:
    """Which rows or columns of a table are wrong, where it is some of them and wholly or alone."""
    if bad.ndim != 2 or bad.all() or 1 in bad.shape:
        return ""
    columns, rows = np.flatnonzero(bad.any(0)), np.flatnonzero(bad.any(1))
    if len(columns) < bad.shape[1]:
        return f", all in column{'s' * (len(columns) > 1)} {', '.join(map(str, columns))}"
    if len(rows) < bad.shape[0]:
        return f", all in row{'s' * (len(rows) > 1)} {', '.join(map(str, rows))}"
    return ""


def _constant(here: Arrays, right: Arrays, allowed: Arrays) -> str:
    differences = [g - r for g, r in zip(here, right, strict=True)]
    if _flat(differences, allowed, None):
        numbers = [d.mean() for d in differences]
        if np.ptp(numbers) <= max(a.max() for a in allowed):
            return f"Every entry is off by {numbers[0]:+.4g}, in every case."
        if all(d.size > 2 for d in differences):
            return "Every entry of a case is off by one and the same number: something is added, or left out."
    if _flat(differences, allowed, 0):
        return "Each column is off by a number of its own: something is added to it, or left out."
    return ""


def _factor(here: Arrays, right: Arrays, allowed: Arrays) -> str:
    for axis, what in ((None, "Every entry of a case is"), (0, "Each column is")):
        factors = []
        for g, r, a in zip(here, right, allowed, strict=True):
            # least squares along the axis
            power = (r * r).sum(axis, keepdims=True)
            factor = (g * r).sum(axis, keepdims=True) / np.where(power == 0, 1, power)
            if (
                not _enough(r, axis)
                or not (np.abs(g - factor * r) <= a * np.maximum(1, np.abs(factor))).all()
            ):
                break
            factors.append(factor)
        else:
            everywhere = np.concatenate([f.ravel() for f in factors])
            if np.ptp(everywhere) <= 1e-4 * np.abs(everywhere).max():
                return f"It is {everywhere[0]:.4g} times what it should be, in every case."
            if axis == 0 or all(g.size > 2 for g in here):
                own = " of its own" if axis == 0 else ""
                return f"{what} off by a factor{own}: something multiplies it, or is left out."
    return ""


def _flat(differences: Arrays, allowed: Arrays, axis: int | None) -> bool:
    """Along an axis every difference is the same."""
    return all(
        _enough(d, axis) and (np.abs(d - d.mean(axis, keepdims=True)) <= a).all()
        for d, a in zip(differences, allowed, strict=True)
    )


def _enough(values: np.ndarray, axis: int | None) -> bool:
    """Along the first dimension, so many numbers that to agree is no accident."""
    return values.size > 0 if axis is None else values.ndim == 2 and len(values) > 2


def _agree(here: Arrays, there: Arrays, allowed: Arrays) -> bool:
    return all(
        h.shape == t.shape == a.shape and h.size > 0 and t.dtype.kind == "f" and (np.abs(h - t) <= a).all()
        for h, t, a in zip(here, there, allowed, strict=True)
    )


def _comparable(given: np.ndarray, right: np.ndarray) -> bool:
    return given.shape == right.shape and given.size > 0 and bool(np.isfinite([given, right]).all())


def _numeric(value: object) -> bool:
    return isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f"
