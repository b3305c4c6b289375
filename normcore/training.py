"""The training loop that experiments share."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from normcore.data import Split

__all__ = ["History", "accuracy", "train"]


@dataclass
class History:
    """What happened in training.

    Attributes:
        loss: the loss of each step's batch.
        accuracy: the test accuracy after each epoch, in [0, 1].
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    data: Split,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    seed: int,
    after_step: Callable[[], None] | None = None,
) -> History:
    """Plain stochastic gradient descent on the cross-entropy; a diverged run goes on, and shows it.

    Args:
        model: from inputs to logits; trained in place, left in evaluation mode.
        data: to train on and to test with.
        lr: learning rate.
        epochs: passes over the training data.
        batch_size: the last, smaller batch of an epoch is left out.
        seed: of the order of the examples.
        after_step: called after each step, to measure; may leave the model in either mode.
    """
    history = History()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        order = torch.randperm(len(data.x_train), generator=generator)
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            model.train()
            loss = cross_entropy(model(data.x_train[batch]), data.y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.loss.append(loss.item())
            if after_step is not None:
                after_step()
        history.accuracy.append(accuracy(model, data))
    return history


@torch.no_grad()
def accuracy(model: nn.Module, data: Split, batch_statistics: bool = False) -> float:
    """Share of the test examples that are classified correctly; the model is left in evaluation mode.

    Args:
        model: from inputs to logits.
        data: to test with.
        batch_statistics: normalize by the statistics of the test examples, taken as one batch, instead of
            by running averages, which are left as they are.
    """
    model.eval()
    tested = copy.deepcopy(model).train() if batch_statistics else model
    return (tested(data.x_test).argmax(1) == data.y_test).float().mean().item()
