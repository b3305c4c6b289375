"""The end of a notebook: a row a task, and the points so far."""

from collections.abc import Mapping

__all__ = ["summary"]

IN_WORDS = "graded by hand"


def summary(name: str, points: Mapping[str, int], states: Mapping[str, str]) -> str:
    """A table in plain text.

    Args:
        name: of the problem set, such as "ps02".
        points: of each task and question, by its name, in their order.
        states: of each task, what its check said: "right", "wrong", "not yet run". What is in `points` only
            is a question in words.
    """
    got = {task: points[task] if state == "right" else 0 for task, state in states.items() if task in points}
    width = max(map(len, points))
    rows = []
    for task, most in points.items():
        state = states.get(task, IN_WORDS)
        worth = f"{got[task]} of {most}" if task in got else f"– of {most}"
        rows.append(f"  {task:{width}}  {state:24}  {worth}")
    total = sum(points[task] for task in got)
    first = f"{name.upper()}: {sum(got.values())} of {total} points so far"
    if in_words := sum(points.values()) - total:
        first += f", and {in_words} for answers in words"
    return "\n".join([f"{first}.", *rows])
