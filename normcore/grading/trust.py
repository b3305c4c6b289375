"""nbgrader's own autograder runs whatever was handed in, with the rights of who starts it: only when told."""

import os

from nbconvert.exporters import NotebookExporter
from nbgrader.converters.base import NbGraderException

__all__ = ["VARIABLE", "TrustedExporter"]

VARIABLE = "NORMCORE_TRUST_SUBMISSIONS"


class TrustedExporter(NotebookExporter):
    """Of `nbgrader autograde`, in place of nbconvert's; set in nbgrader_config.py.

    It is made before a submission or an old mark is touched, by the command and by formgrader's button alike.

    Raises:
        NbGraderException: nobody has said that these submissions are trusted.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if not os.environ.get(VARIABLE):
            said = (
                "nbgrader autograde runs submissions with your rights, and they could use them. "
                "`normcore grade` runs them in a sandbox. If you trust whoever handed in, set "
                f"{VARIABLE}=1 in the environment of this command (for formgrader, of jupyter lab)."
            )
            self.log.error(said)
            raise NbGraderException(said)
