"""Stock nbgrader on this repository: `nbgrader generate_assignment ps02`, `nbgrader autograde ps02`, ..."""

c = get_config()  # noqa: F821

c.CourseDirectory.course_id = "normcore"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
# Everything about students stays below grading/, which git ignores.
c.CourseDirectory.submitted_directory = "grading/submitted"
c.CourseDirectory.autograded_directory = "grading/autograded"
c.CourseDirectory.feedback_directory = "grading/feedback"
c.CourseDirectory.solution_directory = "grading/solution"
c.ZipCollectApp.downloaded_directory = "grading/downloaded"
c.CourseDirectory.db_url = "sqlite:///grading/gradebook.db"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "*.py", "*.md"]

c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
c.OverwriteCells.add_missing_cells = True
c.IncludeHeaderFooter.header = ""
# Feedback that asks no other host, and is made anew each time: nbgrader would leave what is there.
c.GenerateFeedback.exporter_class = "normcore.grading.feedback.FeedbackExporter"
c.GenerateFeedback.force = True
# nbgrader's autograder has no sandbox: it refuses unless $NORMCORE_TRUST_SUBMISSIONS is set.
c.Autograde.exporter_class = "normcore.grading.trust.TrustedExporter"
