"""One definition for each graded task: its inputs, its reference in float64, its known mistakes.

check.py     Check, Mistake, Case: the definition, and how cases are drawn from it
tell_apart.py the task whose answer is a test
judge.py     compares outputs with the reference, names the mistake
catalogue.py the problem sets by name
answers.py   right answers, which students get sealed
slips.py     mistakes as edits of a plain solution
mistakes.py  mistakes and hints that hold wherever a line of batch norm stands
patterns.py  what can be said of a wrong output that is no known mistake's
errors.py    what a learner reads when their function raised
notebook.py  what a learner's notebook calls
summary.py   the points so far, at its end
model_answers.py  beside a learner's own answer in words, and not before
mutants.py   machine-made wrong versions of a solution
cosmic.py    others, by cosmic-ray's operators
audit.py     proves a problem set: `normcore audit ps02`
psNN.py      the problem sets

The learner's function is run by `normcore/inside/runner.py`, here and in the sandbox.
"""
