"""What hangs on a lucky seed is found by running a page under others."""

import numpy as np
import pytest
import torch

from normcore.data import digits
from normcore.experiments import stored
from normcore.experiments.grid import Grid
from scripts import other_seeds

PAGE = """
# A page

```{code-cell} python3
%matplotlib inline
import numpy as np, torch
from normcore.data import digits
from normcore.experiments import stored
```

```{code-cell} python3
kept = stored.load("runs")
assert kept.array.shape == (20,)
assert 0 <= kept.array.min() and kept.array.max() < 20
assert list(kept.array) == list(range(20)), "of these seeds alone"
```

```{code-cell} python3
again = kept.array[:3]
assert list(again) == [0, 1, 2]
assert np.random.default_rng(0).integers(2**40) == FIRST
```

```{code-cell} python3
rng = torch.Generator().manual_seed(0)
torch.manual_seed(0)
drawn = torch.rand(3).sum(), torch.rand(3, generator=rng).sum(), np.random.default_rng(0).random(3).sum()
assert all(0 < total < 3 for total in drawn)
assert abs(drawn[0] - DRAWN[0]) < 1e-6, "torch.manual_seed"
assert abs(drawn[1] - DRAWN[1]) < 1e-6, "torch.Generator"
assert abs(drawn[2] - DRAWN[2]) < 1e-6, "numpy.random.default_rng"
assert digits(0).x_test[0].equal(IMAGE), "an experiment's own"
```
"""
LUCKY = ["list(kept.array) == list(range(20))", "drawn[0]", "drawn[1]", "drawn[2]", "digits(0)"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    torch.manual_seed(0)
    first = torch.rand(3).sum().item()
    text = (
        PAGE.replace("FIRST", str(np.random.default_rng(0).integers(2**40)))
        .replace("DRAWN[0]", str(first))
        .replace("DRAWN[1]", str(torch.rand(3, generator=torch.Generator().manual_seed(0)).sum().item()))
        .replace("DRAWN[2]", str(np.random.default_rng(0).random(3).sum()))
        .replace("IMAGE", f"torch.tensor({digits(0).x_test[0].tolist()})")
    )
    found = Grid(np.arange(20.0), {"seed": tuple(range(20))}, {}, {})
    monkeypatch.setattr(stored, "load", lambda name: found)
    path = tmp_path / "page.md"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("shift", [0, 1, 1000])
def test_assertions_that_hang_on_the_seeds_fail_under_others_alone(page, shift):
    tried, failed = other_seeds.run(page, shift)
    assert tried == 10
    assert len(failed) == (len(LUCKY) if shift else 0)
    assert all(lucky in said for said, lucky in zip(failed, LUCKY, strict=False))
