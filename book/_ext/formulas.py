"""The formulas of docstrings, written in Unicode as they stand beside the code, as TeX.

    y_nc… = (x_nc… − μ_c) / √(σ²_c + ε) · γ_c + β_c

becomes a fraction over a root. What is read:

    a_bc, a_{t−1}, a², a^(…)     scripts; a comma inside a lower one has no space after it
    √a, √(…), ‖…‖, <…, …>        roots, lengths, products
    a / b                        a fraction, of all that stands side by side; a/b stays on its line
    Σ, Σ_i before an operand     a sum; elsewhere the letter
    two spaces and more          a gap between statements; from four on, a line that is long ends there
    words, `code`                upright
"""

import re
import unicodedata

UPPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ⁻", "0123456789T−")
MARKS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar"}
CHARACTERS = {
    "·": r"\cdot ", "…": r"\dots ", "½": r"\tfrac12 ", "‖": r"\Vert ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "∂": r"\partial ", "∈": r"\in ", "⊙": r"\odot ", "∘": r"\circ ",
    "←": r"\leftarrow ", "→": r"\to ", "≤": r"\le ", "≥": r"\ge ", "≈": r"\approx ", "−": "-",
    "×": r"\times ", "∞": r"\infty ", "ρ": r"\rho ", "ε": r"\varepsilon ", "α": r"\alpha ", "β": r"\beta ",
    "γ": r"\gamma ", "δ": r"\delta ", "λ": r"\lambda ", "μ": r"\mu ", "ν": r"\nu ", "σ": r"\sigma ",
    "τ": r"\tau ", "Λ": r"\Lambda ", "Σ": r"\Sigma ", "%": r"\%", "#": r"\#",
}  # fmt: skip
BRACKETS = {"(": ")", "[": "]", "{": "}"}
OPERATORS = set("=+−·⊙∘←→≤≥≈∈<>,;:×∪")
LETTER = "A-Za-zΑ-Ωα-ω"
SCRIPT = re.compile(rf"_(\{{[^}}]*\}}|[{LETTER}0-9]+(?:,[{LETTER}]+)*′?…?)|([²³⁰-⁹ᵀ⁻¹]+)|(′)")
CODE = re.compile(r"`([^`]+)`|[a-z]{3,}(?:_[a-z]{3,})+")
FUNCTIONS = {"tr"}  # that stand without brackets
WORD = re.compile(r"[A-Za-z][A-Za-z-]*[A-Za-z]")
WIDE = 60  # characters of a docstring: about what a column of text holds beside the contents


def to_tex(block: list[str]) -> str:
    """The lines of a formula as the content of one display; an index set has a line of its own."""
    parts = [part for line in block for part in re.split(r" {2,}(?=S(?:_\w+)?(?: =|:))", line.strip())]
    lines = [_line(short) for part in parts for short in _short(part)]
    return lines[0] if len(lines) == 1 else " \\\\\n".join(f"& {line}" for line in lines)


def _short(text: str) -> list[str]:
    """The same in lines of at most so many characters, ended at wide gaps."""
    first, *rest = re.split(r" {4,}", text)
    lines = [first]
    for part in rest:
        if len(lines[-1]) + len(part) < WIDE:
            lines[-1] += "    " + part
        else:
            lines.append(part)
    return lines


def _line(text: str) -> str:
    return r" \qquad ".join(inline(part) for part in re.split(r" {2,}", text))


def inline(text: str) -> str:
    """One statement as TeX.

    Raises:
        ValueError: a bracket that is not closed; a character that is not known.
    """
    return _join(_fractions(_items(unicodedata.normalize("NFD", text))))


# An item is (kind, TeX, TeX without its brackets); kinds: atom, word, operator, over, space.
SPACE = ("space", " ", " ")


def _items(text: str) -> list[tuple[str, str, str]]:
    items, i = [], 0
    while i < len(text):
        kind, tex, bare, i = _next(text, i)
        if kind == "atom":
            tex, end = _with_scripts(text, i, tex)
            if end > i:
                bare = tex
            i = end
            if text[i : i + 1] == "(" and (i == 0 or text[i - 1] != " ") and not bare.endswith(r"\sum "):
                inner, i = _inside(text, i)  # f(x)
                tex = bare = tex + _bracketed("(", inner, ")")
                tex, i = _with_scripts(text, i, tex)
                bare = tex
        items.append((kind, tex, bare))
    return items


def _next(text: str, i: int) -> tuple[str, str, str, int]:
    """Kind, TeX, TeX without brackets, and where it ends, of what begins at i."""
    c = text[i]
    if c == " ":
        return "space", " ", " ", i + 1
    if found := CODE.match(text, i):
        tex = rf"\mathtt{{{(found[1] or found[0]).replace('_', chr(92) + '_')}}}"
        return "atom", tex, tex, found.end()
    if c == "√":
        if text[i + 1] == "(":
            inner, end = _inside(text, i + 1)
            tex = rf"\sqrt{{{inner}}}"
        else:
            _, tex, _, end = _next(text, i + 1)
            tex, end = _with_scripts(text, end, tex)
            tex = rf"\sqrt{{{tex}}}"
        return "atom", tex, tex, end
    if c in BRACKETS:
        inner, end = _inside(text, i)
        return "atom", _bracketed(c, inner, BRACKETS[c]), inner, end
    if c == "‖":
        end = text.index("‖", i + 1)
        tex = rf"\lVert {inline(text[i + 1 : end])} \rVert "
        return "atom", tex, tex, end + 1
    if c == "<" and (end := text.find(">", i)) > 0:
        tex = rf"\langle {inline(text[i + 1 : end])} \rangle "
        return "atom", tex, tex, end + 1
    if c == "/":
        spaced = text[i - 1 : i] == " " and text[i + 1 : i + 2] == " "
        return ("over" if spaced else "operator"), "/", "/", i + 1
    if c in OPERATORS:
        return "operator", CHARACTERS.get(c, c), c, i + 1
    if c == "Σ" and re.match(r"Σ(_[a-z]+|_\{[^}]*\})? [^=/)−+,;≈ ]", text[i:]):
        return "atom", r"\sum ", r"\sum ", i + 1
    if re.match(rf"d[{LETTER}](?![A-Za-z])", text[i:]):  # dx, dγ: what a gradient is called
        return "atom", "d", "d", i + 1
    if found := WORD.match(text, i):
        name, end = found[0], found.end()
        if text[end : end + 1] in ("(", "_") or name in FUNCTIONS:
            tex = rf"\operatorname{{{name}}}"
            return "atom", tex, tex, end
        return "word", rf"\text{{{name}}}", rf"\text{{{name}}}", end
    tex, end = CHARACTERS.get(c, c), i + 1
    if not (c.isascii() or c in CHARACTERS):
        raise ValueError(f"{c!r} in the formula {text!r} is not known")
    while text[end : end + 1] in MARKS and text[end : end + 1]:
        tex = f"{MARKS[text[end]]}{{{tex.strip()}}}"
        end += 1
    return "atom", tex, tex, end


def _with_scripts(text: str, i: int, tex: str) -> tuple[str, int]:
    """`tex` with the upper and lower scripts that follow at i."""
    lower = upper = ""
    while True:
        if text[i : i + 2] == "^(":
            inner, i = _inside(text, i + 1)
            upper += inner
        elif text[i : i + 1] == "^":
            _, inner, _, i = _next(text, i + 1)
            upper += inner
        elif found := SCRIPT.match(text, i):
            if found[1]:
                lower += _script(found[1].strip("{}"))
            elif found[2]:
                raised = found[2].translate(UPPER)
                upper += r"\top" if raised == "T" else raised.replace("−", "-")
            else:
                upper += r"\prime "
            i = found.end()
        else:
            return tex + (f"_{{{lower}}}" if lower else "") + (f"^{{{upper}}}" if upper else ""), i


def _script(text: str) -> str:
    if re.fullmatch(r"[A-Za-z]{3,}", text):
        return rf"\mathrm{{{text}}}"
    letters = re.fullmatch(rf"([{LETTER}0-9,]+)(′?)(…?)", text)
    if not letters:
        return inline(text)
    spelt = "".join(CHARACTERS.get(c, c) for c in letters[1])
    return spelt + (r"^{\prime}" if letters[2] else "") + (r"\dots " if letters[3] else "")


def _inside(text: str, i: int) -> tuple[str, int]:
    """What the bracket that opens at i holds, and where it is over."""
    opening, depth = text[i], 0
    for end in range(i, len(text)):
        depth += (text[end] == opening) - (text[end] == BRACKETS[opening])
        if not depth:
            return inline(text[i + 1 : end].strip()), end + 1
    raise ValueError(f"a bracket is not closed in {text!r}")


def _sentences(items: list) -> list:
    """Words that follow one another as one."""
    joined: list = []
    for item in items:
        if item[0] == "word" and [i[0] for i in joined[-2:]] == ["word", "space"]:
            text = joined[-2][1].removesuffix("}") + " " + item[1].removeprefix(r"\text{")
            joined[-2:] = [("word", text, text)]
        else:
            joined.append(item)
    return joined


def _bracketed(opening: str, inner: str, closing: str) -> str:
    if opening == "{":
        return rf"\{{{inner}\}}"
    tall = re.search(r"\\(t?frac|sum|sqrt|left)", inner)
    return rf"\left{opening}{inner}\right{closing}" if tall else f"{opening}{inner}{closing}"


def _fractions(items: list) -> list:
    """a / b as a fraction: of the atoms that stand side by side, on both sides."""
    while (at := next((i for i, item in enumerate(items) if item[0] == "over"), None)) is not None:
        start, end = at, at + 1
        while start and items[start - 1][0] in ("atom", "space"):
            start -= 1
        while end < len(items) and items[end][0] in ("atom", "space"):
            end += 1
        above, below = (_trimmed(items[a:b]) for a, b in ((start, at), (at + 1, end)))
        tex = rf"\frac{{{_alone(above)}}}{{{_alone(below)}}}"
        items = [*items[:start], SPACE, ("atom", tex, tex), SPACE, *items[end:]]
    return items


def _trimmed(items: list) -> list:
    return [item for i, item in enumerate(items) if item[0] != "space" or 0 < i < len(items) - 1]


def _alone(items: list) -> str:
    return items[0][2] if len(items) == 1 else _join(items)


def _join(items: list) -> str:
    parts, items = [], _sentences(items)
    for i, (kind, tex, _) in enumerate(items):
        if kind != "space":
            parts.append(tex)
        elif 0 < i < len(items) - 1:
            around = items[i - 1], items[i + 1]
            kinds = {item[0] for item in around}
            stops = any(item[2] in (",", ";", ":") for item in around)
            beside_word = "word" in kinds and (stops or "operator" not in kinds)
            parts.append(r"\ " if beside_word else r"\, " if kinds == {"atom"} else " ")
    return "".join(parts)
