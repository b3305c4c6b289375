"""Pictures in an answer in words: a photographed derivation, in a form in which no page runs anything."""

import base64
import binascii
import io
import re
import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote

from PIL import Image

__all__ = ["MAX_BYTES", "MAX_PICTURES", "MAX_PIXELS", "shown", "take"]

KINDS = {"image/png": "PNG", "image/jpeg": "JPEG"}  # an SVG is a page of its own, with scripts
MAX_PICTURES = 8  # of a cell
MAX_BYTES = 4 * 2**20  # of a picture
MAX_PIXELS = 50_000_000  # of a picture: a small file can be a huge one to draw
LARGEST = 4 * MAX_BYTES // 3 + 100_000  # its text in base64, with line breaks
# As Colab keeps them.
IN_THE_TEXT = re.compile(r"!\[([^\]\n]{0,200})\]\(data:(image/[\w.+-]{1,20});base64,([A-Za-z0-9+/=\s]*)\)")
ELSEWHERE = re.compile(r"!\[[^\]\n]{0,200}\]\((?!attachment:picture-)|<img\b")
BROKEN = re.compile(r"!\[([^\[\]\n]{0,200})\] \(attachment:(picture-\d+\.\w+)\)")

# By name, what nbformat calls an attachment: {"image/png": its bytes in base64}.
Pictures = dict[str, dict[str, str]]


def take(text: str, attachments: object) -> tuple[str, Pictures, list[str]]:
    """The pictures of one cell, with names of ours, and the text that shows them by these.

    Args:
        text: of the cell; it may hold pictures itself, as Colab writes them.
        attachments: of the cell, anything at all.

    Returns:
        The text, the pictures, and in words what was not taken.
    """
    pictures: Pictures = {}
    notes: list[str] = []

    def note(sentence: str) -> None:
        if sentence not in notes:
            notes.append(sentence)

    def kept(kind: Any, data: object) -> str:
        """The name under which a picture is taken; empty where it is not, and then it is said why."""
        content, problem = b"", ""
        if len(pictures) == MAX_PICTURES:
            problem = f"there are more than {MAX_PICTURES}"
        else:
            content, problem = _decoded(kind, data)
        if problem:
            note(f"A picture was not taken: {problem}.")
            return ""
        name = f"picture-{len(pictures) + 1}.{KINDS[kind].lower()}"
        pictures[name] = {kind: base64.b64encode(content).decode("ascii")}
        return name

    def named(found: re.Match) -> str:
        name = kept(found[2], found[3])
        return f"![{found[1]}](attachment:{name})" if name else f"[{found[1]}]"

    text = IN_THE_TEXT.sub(named, text)
    for old, kind, data in _attached(attachments):
        places = [p for p in (f"(attachment:{w})" for w in _written(old)) if p in text]
        if (name := kept(kind, data)) and not places:
            text += f"\n\n![](attachment:{name})"  # it is in the cell, though nothing shows it
        for place in places:
            text = text.replace(place, f"(attachment:{name or 'picture-0'})")
    if ELSEWHERE.search(text):
        note("A picture from a file or an address was not taken; put it into the cell itself.")
    return text, pictures, notes


def shown(text: str, pictures: Pictures) -> str:
    """Text in which links are broken, with the pictures that were taken shown again."""
    return BROKEN.sub(lambda m: f"![{m[1]}](attachment:{m[2]})" if m[2] in pictures else m[0], text)


def _attached(attachments: object) -> Iterator[tuple[str, object, object]]:
    found = attachments.items() if isinstance(attachments, dict) else ()
    for name, bundle in islice(found, 2 * MAX_PICTURES):
        if isinstance(bundle, dict) and bundle:
            kind = next((k for k in bundle if k in KINDS), next(iter(bundle)))
            yield name, kind, bundle[kind]


def _written(name: str) -> list[str]:
    """A name as editors write it into the text, where it may have no blank."""
    return list(dict.fromkeys((name, quote(name), quote(name, safe="()!'*,;:@&=+$/"))))


def _decoded(kind: object, data: object) -> tuple[bytes, str]:
    """A picture's bytes, or why it is not taken."""
    if kind not in KINDS:
        return b"", "it must be PNG or JPEG"
    if isinstance(data, list):
        data = "".join(part for part in data if isinstance(part, str))
    if not isinstance(data, str):
        return b"", "it cannot be read"
    large = f"it has more than {MAX_BYTES / 2**20:.0f} MiB"
    if len(data) > LARGEST:
        return b"", large
    try:
        content = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return b"", "it cannot be read"
    if len(content) > MAX_BYTES:
        return b"", large
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size, which is looked at here
            with Image.open(io.BytesIO(content), formats=[KINDS[kind]]) as image:  # reads the head alone
                width, height = image.size
    except Exception:  # whatever Pillow's readers meet
        return b"", f"it is no {KINDS[kind]}"
    if width * height > MAX_PIXELS:
        return b"", f"it has {width} × {height} pixels; at most {MAX_PIXELS:,} are shown"
    return content, ""
