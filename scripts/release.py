"""What learners get of a problem set: as `nbgrader generate_assignment` makes it, without its gradebook."""

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveCells
from traitlets.config import Config

__all__ = ["release"]


def release(notebook: NotebookNode, config: Config) -> str:
    """The text of the released notebook.

    Args:
        notebook: with solutions and hidden tests.
        config: of nbgrader_config.py.
    """
    steps = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).preprocessors
    exporter = NotebookExporter(config=config)
    for step in steps:
        if step is not SaveCells:  # into the gradebook
            exporter.register_preprocessor(step, enabled=True)
    text, _ = exporter.from_notebook_node(notebook)
    return text.rstrip("\n") + "\n"
