"""What a Hopper GPU would be given, read from the machine code; no GPU is needed for that."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs triton")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    command = [sys.executable, "-m", "tests.kernels.compiled"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_kernel_for_usual_sizes(kernels):
    methods = {name.split(" norm ")[0] for name in kernels}
    assert methods == {"layer", "RMS", "group", "batch"} and len(kernels) > 30


def test_nothing_is_spilled(kernels):
    assert not {name: k["stack"] for name, k in kernels.items() if k["stack"]}


def test_tensors_move_in_16_bytes(kernels):
    """A few narrow ones are left, of statistics and parameters: a tile takes more of the wide."""
    for name, kernel in kernels.items():
        if "_merge" in name:  # reads no tensor
            continue
        counts = {"load": {True: 0, False: 0}, "store": {True: 0, False: 0}}
        for instruction, count in kernel["memory"].items():
            kind = "store" if instruction.startswith("STG") else "load"
            counts[kind][".128" in instruction] += count
        assert counts["load"][True], name
        if "_sum" not in name:
            assert counts["store"][True], name
        assert "LDG.E.U16" not in kernel["memory"] and "STG.E.U16" not in kernel["memory"], name


def test_at_least_512_threads_a_multiprocessor(kernels):
    """Fewer could not keep enough bytes in flight: 65,536 registers and 227 KB for all of them."""
    for name, kernel in kernels.items():
        threads = 32 * kernel["warps"]
        programs = min(65536 // (threads * kernel["registers"]), 232448 // max(kernel["shared"], 1))
        assert programs * threads >= 512, name
