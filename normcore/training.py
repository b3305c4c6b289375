"""Training as experiments share it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from normcore.data import Split

__all__ = ["accuracy", "batches", "random_batches", "steps", "train"]


def steps(
    model: nn.Module,
    data: Split,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    seed: int,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
) -> Iterator[float]:
    """Stochastic gradient descent on the cross-entropy, a step at a time: the loss of each batch.

        for step, loss in enumerate(steps(model, data, lr=0.1, epochs=5, batch_size=32, seed=0), 1):
            ...  # measure, in either mode of the model; or stop

    A diverged run goes on, and shows it.

    Args:
        model: from inputs to logits; trained in place, left in evaluation mode at the end.
        data: to train on.
        lr: learning rate.
        epochs: passes over the training data.
        batch_size: the last, smaller batch of an epoch is left out.
        seed: of the order of the examples.
        optimizer: made from the parameters and lr; plain gradient descent if nothing is said.

    Raises:
        ValueError: a batch larger than the training data.
    """
    descent = optimizer(model.parameters(), lr=lr)
    for x, y in batches(data, epochs=epochs, batch_size=batch_size, seed=seed):
        model.train()
        loss = cross_entropy(model(x), y)
        descent.zero_grad()
        loss.backward()
        descent.step()
        yield loss.item()
    model.eval()


def batches(data: Split, *, epochs: int, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) of the training data, pass after pass, each in an order of its own.

    Args:
        data: to take them from.
        epochs: passes over the training data.
        batch_size: the last, smaller batch of an epoch is left out.
        seed: of the order of the examples.

    Raises:
        ValueError: a batch larger than the training data.
    """
    if batch_size > len(data.x_train):
        raise ValueError(f"batch_size must be at most {len(data.x_train)} examples, but got {batch_size}")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(data.x_train), generator=generator)
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            yield data.x_train[batch], data.y_train[batch]


def train(model: nn.Module, data: Split, **how: Any) -> list[float]:
    """All of `steps`, with its arguments; the losses. The model is left in evaluation mode."""
    return list(steps(model, data, **how))


def random_batches(data: Split, *, count: int, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (x, y) drawn from the training data with replacement, for what looks at single steps.

    Args:
        data: to draw from.
        count: of batches.
        batch_size: examples in each.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        batch = torch.randint(len(data.x_train), (batch_size,), generator=generator)
        yield data.x_train[batch], data.y_train[batch]


@torch.no_grad()
def accuracy(model: nn.Module, data: Split, batch_statistics: bool = False, on: str = "test") -> float:
    """Share of the examples that are classified correctly; the model is left in evaluation mode.

    Args:
        model: from inputs to logits.
        data: to test with.
        batch_statistics: normalize by the statistics of the examples, taken as one batch, instead of by
            running averages, which are left as they are.
        on: which part of the data: "train"; "validation", for what is chosen; "test", for what is reported.

    Raises:
        ValueError: another part.
    """
    if on not in ("train", "validation", "test"):
        raise ValueError(f"on must be 'train', 'validation' or 'test', but got {on!r}")
    x, y = getattr(data, f"x_{on}"), getattr(data, f"y_{on}")
    model.eval()
    tested = copy.deepcopy(model).train() if batch_statistics else model
    return (tested(x).argmax(1) == y).float().mean().item()
