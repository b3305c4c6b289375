"""Wrong answers as learners write them, by problem set and task, each an edit of the solution.

psNN.py holds WRONG: task → {what is wrong: edits}. Edits are "before → after", separated by "; "; a text without
an arrow is a whole answer.
"""
