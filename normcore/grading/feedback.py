"""nbgrader's feedback as one file that asks no other host: formulas as MathML instead of a script's work."""

import html
from xml.etree import ElementTree

from jinja2 import DictLoader, pass_context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

__all__ = ["FeedbackExporter", "mathml"]

NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
ELEMENTS = """
math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub
msubsup msup mtable mtd mtext mtr munder munderover none
"""
ATTRIBUTES = """
accent columnalign columnlines columnspacing depth display displaystyle fence form height largeop
linethickness lspace mathvariant maxsize minsize movablelimits rowlines rowspacing rspace scriptlevel
separator stretchy
symmetric voffset width
"""


def mathml(tex: str, display: str = "inline") -> str:
    """A formula as MathML; as code, where it is none that can be converted.

    What a learner writes is converted, too: only elements and attributes of formulas come through.

    Args:
        tex: without the dollars.
        display: "inline" or "block".
    """
    try:
        root = ElementTree.fromstring(convert(tex, display=display))
    except Exception:  # the converter raises whatever its parser meets
        root = None
    if root is None or not all(_belongs(element) for element in root.iter()):
        return f"<code>{html.escape(tex)}</code>"
    for element in root.iter():
        element.tag = element.tag.removeprefix(NAMESPACE)
        element.attrib = {k: v for k, v in element.attrib.items() if k in ATTRIBUTES.split()}
    return ElementTree.tostring(root, encoding="unicode")


def _belongs(element: ElementTree.Element) -> bool:
    return isinstance(element.tag, str) and element.tag.removeprefix(NAMESPACE) in ELEMENTS.split()


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return mathml(body)

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def multiline_math(self, text: str) -> str:
        return mathml(text.strip("$"), "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


class FeedbackExporter(HTMLExporter):
    """Of `nbgrader generate_feedback`, in place of nbconvert's; set in nbgrader_config.py."""

    def __init__(self, **kwargs) -> None:
        nothing = DictLoader({"mathjax.html.j2": "{%- macro mathjax(url='') -%}{%- endmacro -%}"})
        super().__init__(extra_loaders=[nothing], **kwargs)

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        """Markdown to HTML, with the formulas in it."""
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, anchor_link_text=" ")
        return MarkdownWithMath(renderer=renderer).render(source)
