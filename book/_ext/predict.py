"""Sphinx extension: a reader predicts before the result is shown.

    :::{predict}
    :answer: 2

    How many steps does four times the ratio cost?

    * four times as many
    * sixteen times as many
    :::

asks a question; the last list holds what to choose from, and `answer` says which item is right. With

    :draw: steps
    :range: 1 10000 log

the reader draws a curve instead: over the first column of the first table below that has a column "steps".
What was measured is drawn beside it, from that table.

What follows, to the end of the section or to the next prediction, is folded until the reader opens it. It is
a <details> element: it opens without a script. book/_static/predict.js makes choices and curve, keeps both.
"""

from html import escape

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective


class Answer(nodes.Part, nodes.Element):
    """What is folded until the reader has made a guess."""


class Predict(SphinxDirective):
    """A question, and how it is to be answered."""

    has_content = True
    option_spec = {  # noqa: RUF012
        "answer": directives.positive_int,
        "draw": directives.unchanged_required,
        "range": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        question = nodes.admonition(classes=["predict"])
        question["asked"] = {name: str(value) for name, value in self.options.items()}
        question += nodes.title(text="Predict")
        self.state.nested_parse(self.content, self.content_offset, question)
        if "answer" in self.options:
            listed = question[-1]
            if not isinstance(listed, nodes.bullet_list) or self.options["answer"] > len(listed):
                raise self.error("`answer` must be the number of an item of the list that ends the question")
        if "draw" in self.options:
            low, high, *scale = self.options.get("range", "").split()
            if not float(low) < float(high) or scale not in ([], ["log"]):
                raise self.error("`range` must be two numbers, the smaller first, and perhaps `log`")
        return [question]


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
            answer = Answer(name=f"{self.env.docname}/{number}", asked=question["asked"])
            answer.extend(parent[start:end])
            parent[start:end] = [answer]


def predicts(node: nodes.Node) -> bool:
    """Whether a node asks the reader to predict."""
    return isinstance(node, nodes.admonition) and "asked" in node


def predictions(document: nodes.document) -> list[nodes.admonition]:
    return [node for node in document.findall(nodes.admonition) if predicts(node)]


def open_answer(translator, node: Answer) -> None:
    asked = "".join(f' data-{name}="{escape(value)}"' for name, value in node["asked"].items())
    summary = "<summary>I have made my guess: show what happened</summary>"
    translator.body.append(f'<details class="answer" data-name="{node["name"]}"{asked}>{summary}')


def close_answer(translator, node: Answer) -> None:
    translator.body.append("</details><!-- end of the answer -->")


def pass_over(translator, node: Answer) -> None:
    """Where nothing can be folded."""


def setup(app) -> dict:
    """Sphinx calls this."""
    plain = (pass_over, pass_over)
    app.add_node(Answer, html=(open_answer, close_answer), latex=plain, text=plain)
    app.add_directive("predict", Predict)
    app.add_transform(FoldAnswers)
    app.add_js_file("predict.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
