"""Compile the Triton kernels for a Hopper GPU on a machine that has none, in a process of its own.

A stand-in for the driver names the target; every launch only compiles. What the compiler made of a kernel (wide
loads, registers, spills) is read from its machine code. Prints one JSON object a kernel.
"""

import json
import os
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from normcore.kernels import triton_batch, triton_groups, triton_rows

LAUNCH = JITFunction.run
DISASSEMBLER = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


class Hopper:
    """Compute capability 9.0."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")


def compile_all(dtype: torch.dtype) -> dict[str, list]:
    """Method and kernel → compiled kernel, at usual sizes."""
    compiled = {}

    def only_compile(kernel, *args, grid, warmup, **options):
        compiled[f"{method} {kernel.__name__}"] = LAUNCH(kernel, *args, grid=grid, warmup=True, **options)

    driver.set_active(Hopper())
    JITFunction.run = only_compile
    triton_batch.multiprocessors = triton_rows.multiprocessors = lambda device: 132
    for n in (768, 4096, 8192):
        x, weight = torch.empty(8192, n, dtype=dtype), torch.empty(n, dtype=dtype)
        for centre in (True, False) if n == 4096 else (True,):
            method = f"{'layer' if centre else 'RMS'} norm {n}"
            _, mean, var = triton_rows.forward(x, weight, weight if centre else None, 1e-5, centre, dtype)
            triton_rows.backward(x, x, weight, mean, var, 1e-5, centre)
    x, weight = torch.empty(8, 256, 56, 56, dtype=dtype), torch.empty(256)
    for groups in (32, 256):
        method = f"group norm {groups}"
        _, mean, var = triton_groups.forward(x, groups, weight, weight, 1e-5, dtype)
        triton_groups.backward(x, x, groups, weight, mean, var, 1e-5)
    for layout in (torch.contiguous_format, torch.channels_last):
        method = f"batch norm {layout}"
        _, mean, var = triton_batch.forward(x.contiguous(memory_format=layout), weight, weight, 1e-5, dtype)
        triton_batch.backward(x, x.contiguous(memory_format=layout), weight, mean, var, 1e-5)
    return compiled


def compile_small(dtype: torch.dtype) -> int:
    """The number of kernels compiled for sizes of 1 and 16, which Triton takes for constants where it may."""
    compiled = []
    JITFunction.run = lambda kernel, *args, grid, warmup, **options: compiled.append(
        LAUNCH(kernel, *args, grid=grid, warmup=True, **options)
    )
    for rows, n in ((1, 1), (16, 16), (1, 20000)):
        x, weight = torch.empty(rows, n, dtype=dtype), torch.empty(n)
        _, mean, var = triton_rows.forward(x, weight, weight, 1e-5, True, dtype)
        triton_rows.backward(x, x, weight, mean, var, 1e-5, True)
    for shape, groups in (((1, 1, 1), 1), ((16, 16, 16), 16), ((1, 16, 1), 1)):
        x = torch.empty(shape, dtype=dtype)
        _, mean, var = triton_groups.forward(x, groups, None, None, 1e-5, dtype)
        triton_groups.backward(x, x, groups, None, mean, var, 1e-5)
    for shape in ((1, 1), (16, 16), (1, 1, 16), (16, 1, 1)):
        x = torch.empty(shape, dtype=dtype)
        _, mean, var = triton_batch.forward(x, None, None, 1e-5, dtype)
        triton_batch.backward(x, x, None, mean, var, 1e-5)
    return len(compiled)


def report(kernel) -> dict:
    """Registers, bytes of stack, and how often each instruction on memory occurs."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [DISASSEMBLER, "-sass", "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()
    instructions = Counter(re.findall(r"\b(?:LDGSTS|LDG|STG|LDL|STL)[.\w]*", text))
    return {
        "registers": int(registers),
        "stack": int(stack),
        "warps": kernel.metadata.num_warps,
        "shared": kernel.metadata.shared,
        "memory": dict(instructions),
    }


if __name__ == "__main__":
    reports = {}
    for dtype in (torch.bfloat16, torch.float32):
        for name, kernel in compile_all(dtype).items():
            reports[f"{name} {str(dtype)[6:]}"] = report(kernel)
    assert compile_small(torch.float16) == 33
    print(json.dumps(reports))
