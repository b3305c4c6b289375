import torch
from hypothesis import settings

# Deterministic examples: a red run is red again, on every machine.
settings.register_profile("course", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("course")
# One thread a worker: the tests' tensors are small, and workers share the cores.
torch.set_num_threads(1)
