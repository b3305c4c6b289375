"""All of this project that a submission can reach: it runs inside the sandbox, beside the learner's code.

These files import one another, numpy, torch and IPython, and nothing else of the project. Nothing in them
knows what is right: they hold no reference, no hidden case and no verdict.

forkserver.py  the sandbox's first process: it has imported torch once, and forks for each submission
seccomp.py     the filter of system calls
execute.py     runs a notebook's cells and its tasks, sends what they return
cells.py       a notebook's cells, statement by statement
blocklist.py   what does a task for the learner, taken out of torch
native.py      ways from Python to native code past the dispatcher, closed
absent.py      packages that are not there, as modules that refuse
runner.py      a function on plain inputs, plain outputs; a notebook's own check runs it, too
wire.py        what crosses the wall, and in which form; both sides read and write it here
"""
