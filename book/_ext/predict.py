"""Sphinx extension: a reader predicts before the result is shown.

What follows an admonition headed *Predict*, to the end of its section or to the next prediction, is folded
until the reader opens it. It is a <details> element: it opens without a script, and for a link that leads
into it. book/_static/predict.js remembers what was opened, and opens all for printing.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform


class Answer(nodes.Part, nodes.Element):
    """What is folded until the reader has made a guess."""


class FoldAnswers(SphinxTransform):
    """Move what follows each prediction into an answer."""

    default_priority = 700  # after MyST-NB has made its cells

    def apply(self) -> None:
        for number, question in enumerate(predictions(self.document), 1):
            parent = question.parent
            start = parent.index(question) + 1
            rest = parent[start:]
            ends = (n for n, node in enumerate(rest) if isinstance(node, nodes.section) or predicts(node))
            end = start + next(ends, len(rest))
            answer = Answer(name=f"{self.env.docname}/{number}")
            answer.extend(parent[start:end])
            parent[start:end] = [answer]


def predicts(node: nodes.Node) -> bool:
    """Whether a node asks the reader to predict."""
    return isinstance(node, nodes.admonition) and node[0].astext() == "Predict"


def predictions(document: nodes.document) -> list[nodes.admonition]:
    return [node for node in document.findall(nodes.admonition) if predicts(node)]


def open_answer(translator, node: Answer) -> None:
    summary = "<summary>I have made my guess: show what happened</summary>"
    translator.body.append(f'<details class="answer" data-name="{node["name"]}">{summary}')


def close_answer(translator, node: Answer) -> None:
    translator.body.append("</details><!-- end of the answer -->")


def pass_over(translator, node: Answer) -> None:
    """Where nothing can be folded."""


def setup(app) -> dict:
    """Sphinx calls this."""
    plain = (pass_over, pass_over)
    app.add_node(Answer, html=(open_answer, close_answer), latex=plain, text=plain)
    app.add_transform(FoldAnswers)
    app.add_js_file("predict.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
