"""What comes out of the sandbox is read as arrays or not at all, in no more memory than was sent."""

import io
import json
import struct
import tracemalloc

import numpy as np
import pytest

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading.grade import MAX_HEADER, _frames, _outputs, _shown

CHECKS = [check for name in names() for check in find_problem_set(name).checks.values()]


def sent(*arrays, version=(1, 0)):
    stream = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_what_was_sent_is_read(check):
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (), (0, 4), (5,), (2, 1, 3)]
    arrays = [rng.normal(size=shapes[i % 5]) for i in range(3 * len(check.outputs))]
    arrays[0] = np.asfortranarray(arrays[0])
    arrays[-1] = arrays[-1] > 0
    found = _outputs(check, 3, sent(*arrays))
    given = iter(arrays)
    for case in found:
        assert tuple(case) == check.outputs
        for array in case.values():
            expected = next(given)
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


ONE = next(check for check in CHECKS if len(check.outputs) == 1)


def head(shape, descr="<f8"):
    stream = io.BytesIO()
    entry = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, entry)
    return stream.getvalue()


def forged(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


UNREADABLE = {
    "nothing": b"",
    "noise": b"\xff" * 1000,
    "an archive": b"PK\x03\x04" + b"\0" * 100,
    "a shape larger than what follows": head((2**40, 2**20)) + b"\0" * 64,
    "a negative shape": forged(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n"),
    "a hundred dimensions": head((1,) * 100) + b"\0" * 8,
    "no shape": forged(b"{'descr': '<f8', 'fortran_order': False}\n"),
    "no end": forged(b"(" * 60000),
    "a long header": forged(b"{'descr': '<f8', 'fortran_order': False, 'shape': ()}" + b" " * MAX_HEADER + b"\n"),
    "another version": sent(np.zeros(3), version=(2, 0)),
    "more than it should": sent(np.zeros(3), np.zeros(3)),
    "objects": head((1,), "|O") + b"\0" * 8,
    "float16": sent(np.zeros(3, np.float16)),
    "complex": sent(np.zeros(3, complex)),
    "another order of bytes": sent(np.zeros(3, ">f8")),
    "dates": sent(np.zeros(3, "datetime64[s]")),
    "records": sent(np.zeros(3, [("a", "f8")])),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_anything_else_is_refused_in_words(name):
    tracemalloc.start()
    with pytest.raises(ValueError, match="it returned|no array of numbers") as caught:
        _outputs(ONE, 1, UNREADABLE[name])
    assert "pickle" not in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_arrays_take_no_more_memory_than_what_was_sent():
    body = sent(*[np.zeros(2**18) for _ in range(12)])
    tracemalloc.start()
    found = _outputs(ONE, 12, body)
    assert tracemalloc.get_traced_memory()[1] < len(body) * 1.2
    tracemalloc.stop()
    assert sum(array.size for case in found for array in case.values()) == 12 * 2**18


def test_of_many_frames_the_first_of_each_task_counts():
    def frame(**header):
        text = json.dumps(header).encode()
        return struct.pack(">I", len(text)) + text

    output = frame(task="a", bytes=0, n=1) + frame(task="a", bytes=0, n=2) + frame(task="b", bytes=0)
    assert {name: header.get("n") for name, (header, _) in _frames(output).items()} == {"a": 1, "b": None}
    assert "b" not in _frames(frame(task="a", bytes=0) + b"\xff" * 100 + frame(task="b", bytes=0))


def test_what_is_shown_can_be_written_down():
    assert _shown("\ud800" + "x" * 100, 10) == "?" + "x" * 9
