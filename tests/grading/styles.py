"""Honest answers as people leave them in notebooks: edits of a right one, for any task of any problem set."""

import nbformat

# Text before and after the definition in its cell. NAME is the name of the task.
BEFORE = {
    "plain": "",
    "imports numpy": "import numpy as np\n",
    "imports under other names": "import numpy\nimport torch as T\nfrom torch import nn, Tensor\nimport torch.nn.functional as F\n",
    "imports everything": "from math import *\n",
    "imports scikit-learn": "from sklearn.preprocessing import MinMaxScaler, StandardScaler\n",
    "imports scipy": "import scipy.linalg\nfrom scipy import stats\n",
    "imports the course's package": "from normcore import functional as NF, nn as NN\nimport normcore.plotting\n",
    "imports a layer of the course's": "from normcore.nn import BatchNorm1d\n",
    "tries Colab": "try:\n    from google.colab import drive\nexcept ImportError:\n    pass\n",
    "tries packages that are not there": "try:\n    import einops, jax, tensorflow\nexcept ImportError:\n    einops = None\n",
    "looks at the future": "from __future__ import annotations\n",
    "has types": "from typing import NamedTuple, Optional\nclass Moments(NamedTuple):\n    mean: Optional[float] = None\n",
    "has a dataclass": "from dataclasses import dataclass\n@dataclass\nclass Moments:\n    mean: 'torch.Tensor' = None\n",
    "has an enumeration": "import enum\nclass Mode(enum.Enum):\n    TRAIN = 1\n",
    "plots in line": "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n",
    "saves a figure": "import matplotlib.pyplot as plt\nplt.figure(); plt.plot([1, 2]); plt.savefig('figure.png'); plt.close()\n",
    "saves a tensor": "torch.save(torch.ones(3), 't.pt'); torch.load('t.pt')\n",
    "writes notes": "with open('notes.txt', 'w') as f:\n    f.write('notes')\nassert open('notes.txt').read() == 'notes'\n",
    "asks for help": "torch.var?\n",
    "asks for help in front": "?torch.var\n",
    "asks help()": "help(torch.var)\n",
    "lists files": "out = !ls\nprint(len(out))\n",
    "runs a command": "!echo hello\n",
    "runs a command indented": "if True:\n    !echo hello\n",
    "runs a program": "import subprocess\nsubprocess.run(['true'])\n",
    "asks the network": "import urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:9', timeout=1)\nexcept OSError:\n    pass\n",
    "times a statement": "%time s = sum(range(10))\nassert s == 45\n",
    "keeps a timing": "t = %timeit -o -n1 -r1 1 + 1\nprint(t)\n",
    "asks the shell": "get_ipython().run_line_magic('matplotlib', 'inline')\n",
    "reloads": "%load_ext autoreload\n%autoreload 2\n",
    "sets the figures": "%config InlineBackend.figure_format = 'retina'\n",
    "changes the folder": "%cd .\n",
    "displays": "from IPython.display import display, Markdown\ndisplay(Markdown('*x*'))\n",
    "displays a tensor": "display(torch.ones(2))\ntorch.ones(2)\n",
    "awaits": "import asyncio\nawait asyncio.sleep(0)\n",
    "defines asynchronously": "async def later():\n    return 1\nassert await later() == 1\n",
    "seeds": "import random\nimport numpy as np\nrandom.seed(1); np.random.seed(1); torch.manual_seed(1)\n",
    "asks for threads": "torch.set_num_threads(2)\ntorch.randn(200, 200) @ torch.randn(200, 200)\n",
    "works in threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n    list(pool.map(abs, [1, 2]))\n",
    "warns": "import sys, warnings\nwarnings.warn('careful'); print('hm', file=sys.stderr)\n",
    "logs": "import logging\nlogging.basicConfig(level=logging.INFO); logging.info('x')\n",
    "prints a lot": "for i in range(2000): print('x' * 100)\n",
    "differentiates before": "x = torch.randn(5, 3, requires_grad=True)\n(x ** 2).sum().backward()\nprint(x.grad)\n",
    "differentiates between helper and definition": "def helper(v):\n    return 1 / (v.var(0, correction=0) + 0.1).sqrt()\nx = torch.randn(5, 3, requires_grad=True)\n(g,) = torch.autograd.grad(helper(x).sum(), x)\nassert g.shape == x.shape\n",
    "differentiates by functions": "print(torch.func.grad(lambda v: (v ** 2).sum())(torch.ones(3)))\n",
    "checks gradients": "torch.autograd.gradcheck(torch.exp, torch.ones(2).double().requires_grad_())\n",
    "trains": "layer = torch.nn.Linear(2, 1)\nsgd = torch.optim.SGD(layer.parameters(), lr=0.1)\nlayer(torch.ones(4, 2)).square().mean().backward(); sgd.step(); sgd.zero_grad()\n",
    "calls the built-in before": "expected = torch.nn.functional.batch_norm(torch.randn(8, 3), None, None, training=True)\n",
    "makes the built-in layer": "layer = torch.nn.BatchNorm1d(3)\nref = layer(torch.randn(8, 3))\n",
    "calls scikit-learn": "from sklearn.preprocessing import StandardScaler\nref = StandardScaler().fit_transform([[0.0], [1.0]])\n",
    "calls the course's package": "from normcore import functional as NF\nref = NF.standardize(torch.randn(4, 3), (0,), eps=0.1)\n",
    "scripts a helper": "@torch.jit.script\ndef helper(v: torch.Tensor):\n    return v * 2\nassert helper(torch.ones(1)) == 2\n",
    "maps": "assert torch.vmap(lambda v: v.sum())(torch.ones(2, 3)).shape == (2,)\n",
    "matches": "match 3:\n    case 3:\n        kind = 'three'\n",
    "defines by text": "exec('def helper(v):\\n    return v')\n",
    "speaks another language": "größe = {'μ': 1}\nprint('日本語 ✓')\n",
    "pickles": "import pickle\nclass Local: pass\npickle.loads(pickle.dumps(Local()))\n",
    "looks around": "import os, sys\nsys.path.append('.'); print(os.getcwd(), os.environ.get('HOME'), sys.argv)\n",
    "caches": "from functools import lru_cache\n@lru_cache(None)\ndef helper(n):\n    return n\nhelper(3)\n",
    "has a long docstring": '"""' + "words " * 2000 + '"""\n',
    "sets numpy's and torch's printing": "import numpy as np\nnp.set_printoptions(precision=3); torch.set_printoptions(precision=3)\n",
}  # fmt: skip
AFTER = {
    "has an assertion": "assert callable(NAME)\n",
    "differentiates after": "x = torch.randn(5, 3, requires_grad=True)\n(x ** 2).sum().backward()\nassert x.grad is not None\n",
    "compares with the built-in after": "ref = torch.nn.BatchNorm1d(3)(torch.randn(8, 3))\nassert ref.shape == (8, 3)\n",
    "checks itself": "check(NAME)\n",
    "times itself": "%timeit -n1 -r1 1 + 1\n",
    "has another name": "answer = NAME\nNAME = answer\n",
    "is inspected": "import inspect\nprint(inspect.getsource(NAME) if inspect.isfunction(NAME) else NAME)\n",
}  # fmt: skip
WHOLE = {
    "is timed whole": lambda source: "%%time\n" + source,
    "is captured whole": lambda source: "%%capture\n" + source,
    "is in a branch": lambda source: "if True:\n" + _indented(source),
    "is in a try": lambda source: "try:\n" + _indented(source) + "\nexcept NameError:\n    raise\n",
    "is in a with": lambda source: "with torch.no_grad():\n" + _indented(source),
    "has CRLF": lambda source: source.replace("\n", "\r\n"),
    "has blanks at the ends": lambda source: "\n\n" + source.replace("\n\n", "\n   \n") + "\n\n   \n",
}


def _indented(source: str) -> str:
    return "\n".join("    " + line if line.strip() else line for line in source.splitlines())


def in_cell(style: str, source: str, name: str) -> str:
    """A cell in one of the styles above."""
    if style in WHOLE:
        return WHOLE[style](source)
    if style in BEFORE:
        return BEFORE[style] + source
    return source + "\n" + AFTER[style].replace("NAME", name)


def code(source: str):
    return nbformat.v4.new_code_cell(source)


def place(notebook, name: str) -> int:
    return next(i for i, cell in enumerate(notebook.cells) if cell.id == name)


# What is done to a notebook, with the name of a task.
def own_cell(text):
    def edit(notebook, name):
        notebook.cells.insert(place(notebook, name), code(text))

    return edit


def last_cell(text):
    def edit(notebook, name):
        notebook.cells.append(code(text.replace("NAME", name)))

    return edit


def moved(before):
    def edit(notebook, name):
        i = place(notebook, name)
        answer = code(notebook.cells[i].source)
        notebook.cells[i].source = "# see the cell beside this one"
        notebook.cells.insert(i if before else i + 1, answer)

    return edit


def helper_cell(notebook, name):
    cell = notebook.cells[place(notebook, name)]
    notebook.cells.insert(place(notebook, name), code("import numpy as np\ndef helper(v): return v\nEPS = 1"))
    cell.source = "assert helper(EPS) == 1 and np\n" + cell.source


def imports_edited(notebook, name):
    notebook.cells[place(notebook, "imports")].source += "\nimport numpy as np\n"
    cell = notebook.cells[place(notebook, name)]
    cell.source = "zero = np.zeros(1)\n" + cell.source


def check_edited(notebook, name):
    cell = notebook.cells[place(notebook, f"{name}-check")]
    cell.source = "own = 1\n" + cell.source + "\nprint(own)"


def setup_edited(notebook, name):
    cell = notebook.cells[place(notebook, "setup")]
    cell.source += "\nimport numpy as np\nmine = 5"
    notebook.cells[place(notebook, name)].source += "\nassert mine == 5 and np"


def module_of_ones_own(notebook, name):
    i = place(notebook, name)
    notebook.cells.insert(i, code("%%writefile helpers_of_mine.py\ndef same(v):\n    return v\n"))
    notebook.cells.insert(i + 1, code("from helpers_of_mine import same"))
    notebook.cells[i + 2].source += "\nassert same(1) == 1"


def outputs(notebook, name):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="✓\n" * 99)], 7


def kernel(notebook, name):
    notebook.metadata.kernelspec = {"name": "mine", "display_name": "Mine", "language": "python"}


def without_metadata(notebook, name):
    for cell in notebook.cells:
        cell.metadata = {}


OF_NOTEBOOK = {
    "a helper in a cell of its own": helper_cell,
    "the answer in the next cell": moved(False),
    "the answer in the cell before": moved(True),
    "the imports edited": imports_edited,
    "the check edited": check_edited,
    "the setup edited": setup_edited,
    "a module of one's own": module_of_ones_own,
    "an own cell that fails": own_cell("raise RuntimeError('my own try')"),
    "an own cell that is no Python": own_cell("this is no Python ("),
    "an own cell of Colab's": own_cell("from google.colab import files\nfiles.upload()"),
    "an own cell that sleeps": own_cell("import time\ntime.sleep(0.3)"),
    "an own cell in another language": own_cell("%%html\n<b>notes</b>"),
    "a later cell that plays": last_cell("def NAME(*arguments, **named):\n    return None"),
    "a later cell that cleans up": last_cell("del NAME\ntorch = None\nx = gamma = 5"),
    "outputs": outputs,
    "another kernel": kernel,
    "no metadata": without_metadata,
}
IN_CELL = [*BEFORE, *AFTER, *WHOLE]
