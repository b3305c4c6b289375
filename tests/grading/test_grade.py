"""What comes out of the sandbox is read as arrays or not at all, in no more memory than was sent."""

import io
import json
import struct
import tracemalloc

import numpy as np
import pytest

from normcore.checks.catalogue import find_problem_set, names
from normcore.grading.grade import _shown
from normcore.inside import wire
from normcore.inside.wire import MAX_ARRAY_HEADER, read_outputs

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
    found = read_outputs(check.outputs, 3, sent(*arrays))
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
    "a long header": forged(b"{'descr': '<f8', 'fortran_order': False, 'shape': ()}" + b" " * MAX_ARRAY_HEADER + b"\n"),
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
        read_outputs(ONE.outputs, 1, UNREADABLE[name])
    assert "pickle" not in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_arrays_take_no_more_memory_than_what_was_sent():
    body = sent(*[np.zeros(2**18) for _ in range(12)])
    tracemalloc.start()
    found = read_outputs(ONE.outputs, 12, body)
    assert tracemalloc.get_traced_memory()[1] < len(body) * 1.2
    tracemalloc.stop()
    assert sum(array.size for case in found for array in case.values()) == 12 * 2**18


def sent_frames(data, size):
    """The headers that are read where the bytes come so many at a time."""
    frames = wire.Frames()
    return [h for i in range(0, len(data), size) for h, _ in frames.feed(data[i : i + size])]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_frames_are_read_however_they_arrive_up_to_the_first_that_is_none(size):
    frames = [wire.frame({"task": f"t{n}"}, b"x" * n * 50) for n in range(4)]
    assert [h["task"] for h in sent_frames(b"".join(frames), size)] == ["t0", "t1", "t2", "t3"]
    broken = {
        "noise": b"\xff" * 100,
        "no JSON": struct.pack(">I", 3) + b"{{{",
        "no object": struct.pack(">I", 2) + b"[]",
        "a deep one": struct.pack(">I", 60_000) + b"[" * 60_000,
        "no task": wire.frame({}),
        "a task that is none": wire.frame({"task": 5}),
        "a size that is none": (text := b'{"task": "x", "bytes": true}')
        and struct.pack(">I", len(text)) + text,
        "a negative size": (text := b'{"task": "x", "bytes": -5}') and struct.pack(">I", len(text)) + text,
        "a long header": wire.frame({"task": "x" * 70_000}),
    }
    for name, bad in broken.items():
        assert [h["task"] for h in sent_frames(frames[0] + bad + frames[1], size)] == ["t0"], name


def test_a_frame_that_never_ends_is_none():
    text = b'{"task": "x", "bytes": 1000000}'
    assert sent_frames(struct.pack(">I", len(text)) + text + b"x" * 1000, 100) == []


def test_values_come_back_as_they_went():
    body = io.BytesIO()
    function = len
    values = [
        1,
        2.5,
        True,
        None,
        "batch",
        (1, (2.0, [3])),
        np.arange(6.0).reshape(2, 3),
        np.float32(3),
        function,
    ]
    described = json.loads(json.dumps([wire.pack(v, body, [str, function]) for v in values]))
    arrays = wire.Arrays(body.getvalue())
    back = [wire.unpack(d, arrays, lambda number: [str, len][number]) for d in described]
    assert back[:6] == values[:6] and back[8] is function
    np.testing.assert_array_equal(back[6], values[6])
    assert type(back[7]) is float and back[7] == 3


@pytest.mark.parametrize(
    "odd",
    [{"array": 1}, {"tuple": 5}, {"function": 0}, {"x": 1}, [[[[[[[1]]]]]]], {"tuple": [{"array": True}]}],
)
def test_values_of_no_known_form_are_refused(odd):
    with pytest.raises(wire.WireError):
        wire.unpack(odd, wire.Arrays(b""))


def test_what_is_shown_can_be_written_down():
    assert _shown("\ud800" + "x" * 100, 10) == "?" + "x" * 9
