import numpy as np
import pytest
import torch

from normcore.clipping import clip_grad_adaptively_
from tests.layers import random_input


def test_each_units_gradient_is_held_to_a_share_of_its_weights():
    w = torch.nn.Parameter(random_input((4, 3, 2), offset=0))
    w.data[3] = 0
    w.grad = random_input((4, 3, 2), seed=1, offset=0)
    w.grad[1] *= 1e-6  # short already
    before, weights = w.grad.numpy().copy(), w.detach().numpy()
    clip_grad_adaptively_([w, torch.nn.Parameter(torch.ones(2))], clipping=0.1, eps=1e-3)
    for o in range(4):
        limit = 0.1 * max(np.linalg.norm(weights[o]), 1e-3)
        norm = np.linalg.norm(before[o])
        np.testing.assert_allclose(w.grad[o], before[o] * min(1, limit / norm), rtol=1e-10)
    assert (w.grad[1].numpy() == before[1]).all()


def test_vectors_and_scalars_are_one_unit():
    for shape in [(5,), ()]:
        p = torch.nn.Parameter(random_input(shape))
        p.grad = 100 * random_input(shape, seed=1)
        direction = p.grad / p.grad.norm()
        clip_grad_adaptively_([p], clipping=0.05)
        torch.testing.assert_close(p.grad, 0.05 * p.detach().norm() * direction)


def test_zero_gradients_stay_zero_and_bad_limits_are_refused():
    p = torch.nn.Parameter(torch.ones(3, 2))
    p.grad = torch.zeros(3, 2)
    clip_grad_adaptively_([p])
    assert (p.grad == 0).all()
    with pytest.raises(ValueError, match="clipping must be positive, but got 0"):
        clip_grad_adaptively_([p], clipping=0)
