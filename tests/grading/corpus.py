"""Submissions to PS02 that nobody should trust. None deserves a point for the task `normalize`.

Each is the text of the cell `normalize`; the other cells are as they were released.
"""

from tests.commands import ROOT

WRONG = """
def normalize(x, dim, eps):
    return x * 0
"""

# What is forged: the test's own tools, the outputs, the channel on which they travel.
FORGERIES = {
    "patched-numpy-testing": "import numpy\nnumpy.testing.assert_allclose = lambda *a, **k: None" + WRONG,
    "patched-torch-testing": "torch.testing.assert_close = lambda *a, **k: None" + WRONG,
    "patched-check": "import normcore.checks.ps02 as p\np.check = p.hidden_check = lambda f: print('✓')"
    + WRONG,
    "equals-everything": """
class Yes:
    def __eq__(self, other): return True
    def __getattr__(self, name): return lambda *a, **k: self
    def __array__(self, *a, **k): return None
def normalize(x, dim, eps):
    return Yes()
""",
    "ast-transformers": "get_ipython().ast_transformers.append(1)" + WRONG,
    "input-transformers": "get_ipython().input_transformers_cleanup.append(lambda lines: ['2'])" + WRONG,
    "displayhook": "import sys\nsys.displayhook = lambda v: print(4.0)\nsys.displayhook(4.0)" + WRONG,
    "forged-message": """
from IPython import get_ipython
get_ipython().kernel.session.send(get_ipython().kernel.iopub_socket, 'execute_result', {'data': {'text/plain': '2.0'}})
"""
    + WRONG,
    "gradebook-by-sql": """
import sqlite3, glob
for path in glob.glob('/**/gradebook.db', recursive=True):
    c = sqlite3.connect(path)
    c.execute('UPDATE grade SET auto_score = 100')
    c.commit()
"""
    + WRONG,
    "patched-runner": "from inside import runner\nrunner.run = lambda *a, **k: {'x_hat': 0}" + WRONG,
    "patched-savez": "import numpy\nnumpy.savez = lambda *a, **k: None" + WRONG,
    "patched-json": "import json\njson.dumps = lambda *a, **k: '{}'" + WRONG,
    "patched-exec": "import builtins\nbuiltins.exec = lambda *a, **k: None" + WRONG,
    "patched-fork": "import os\nos.fork = lambda: 0" + WRONG,
    "a-frame-that-says-it-is-right": """
import json, os, struct
text = json.dumps({'task': 'normalize', 'bytes': 0, 'passed': True, 'score': 2, 'outcome': 'right'}).encode()
for fd in range(3, 32):
    try: os.write(fd, struct.pack('>I', len(text)) + text)
    except OSError: pass
"""
    + WRONG,
    "frames-of-nonsense": """
import os
for fd in range(3, 32):
    try: os.write(fd, b'\\xff' * 100000)
    except OSError: pass
"""
    + WRONG,
    "a-frame-nested-too-deep": """
import os, struct
text = b'[' * 60000
for fd in range(3, 32):
    try: os.write(fd, struct.pack('>I', len(text)) + text)
    except OSError: pass
"""
    + WRONG,
    "a-zip-bomb": """
import io, json, os, struct, zipfile
buffer = io.BytesIO()
with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr('0/x_hat.npy', b'\\0' * (1 << 29))
text = json.dumps({'task': 'normalize', 'seen': [], 'bytes': len(buffer.getvalue())}).encode()
for fd in range(3, 32):
    try: os.write(fd, struct.pack('>I', len(text)) + text + buffer.getvalue())
    except OSError: pass
"""
    + WRONG,
    "a-pickle-in-the-archive": """
import io, json, os, struct, numpy
class Evil:
    def __reduce__(self): return (os.system, ('touch /tmp/pwned-by-pickle',))
buffer = io.BytesIO()
numpy.savez(buffer, **{f'{i}/x_hat': numpy.array([Evil()], dtype=object) for i in range(12)})
text = json.dumps({'task': 'normalize', 'seen': [], 'bytes': len(buffer.getvalue())}).encode()
for fd in range(3, 32):
    try: os.write(fd, struct.pack('>I', len(text)) + text + buffer.getvalue())
    except OSError: pass
"""
    + WRONG,
}

RETURNS = {
    "object-array": "numpy.array([[object()]], dtype=object)",
    "none": "None",
    "a-string": "'right'",
    "a-list": "[[1.0, 2.0], [3.0]]",
    "not-a-number": "torch.full_like(x, float('nan'))",
    "infinity": "torch.full_like(x, float('inf'))",
    "wrong-endianness": "numpy.asarray(x).astype('>f8') * 0",
    "complex": "torch.zeros(x.shape, dtype=torch.complex64)",
    "huge": "torch.zeros(2**27)",
    "an-endless-expansion": "torch.zeros(1).expand(2**40)",
    "a-subclass": "numpy.asarray(x).view(numpy.matrix) if x.dim() == 2 else numpy.ma.masked_all(x.shape)",
    "memory-mapped": "numpy.memmap('/scratch/m', numpy.float64, 'w+', shape=tuple(x.shape))",
    "structured": "numpy.zeros(3, dtype=[('a', 'f8'), ('b', 'i4')])",
    "dates": "numpy.zeros(3, dtype='datetime64[s]')",
    "sparse": "torch.zeros(x.shape).to_sparse()",
    "on-no-device": "torch.zeros(x.shape, device='meta')",
    "a-generator": "(i for i in range(3))",
}
FORGERIES |= {
    f"returns-{name}": f"import numpy\ndef normalize(x, dim, eps):\n    return {value}\n"
    for name, value in RETURNS.items()
}

# The task is done by a built-in, or by the reference.
BY = "def normalize(x, dim, eps):\n    shape = [x.shape[d] for d in range(x.dim()) if d not in dim]\n"
FORBIDDEN = {
    "reference-imported": "from normcore.functional import standardize as reference\n"
    "def normalize(x, dim, eps):\n    return reference(x, dim, eps=eps)\n",
    "reference-found-on-disk": """
import glob, importlib.util
paths = glob.glob('/**/normcore/functional/standardization.py', recursive=True)
spec = importlib.util.spec_from_file_location('stolen', paths[0])
stolen = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stolen)
def normalize(x, dim, eps):
    return stolen.normalize(x, dim, eps=eps)
""",
    "reference-in-a-frame": """
import sys
def normalize(x, dim, eps):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if hasattr(value, 'reference'):
                return value.reference(x, dim, eps)
        frame = frame.f_back
""",
    "reference-by-gc": """
import gc
def normalize(x, dim, eps):
    for o in gc.get_objects():
        if type(o).__name__ == 'Check':
            return o.reference(x, dim, eps)
""",
    "solutions-on-disk": """
import glob, json
for path in glob.glob('/**/solutions/ps02/*.ipynb', recursive=True):
    for cell in json.load(open(path))['cells']:
        if cell['id'] == 'normalize':
            exec(''.join(cell['source']))
""",
    "installed-at-run-time": "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-m', 'pip', 'install', 'normcore'], timeout=15)\n" + WRONG,
}
# Every one is the right answer, by the built-in: (N, C) cases of batch_norm are done with it.
BUILT_IN = {
    "functional": "return torch.nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=eps)",
    "layer": "layer = torch.nn.BatchNorm1d(x.shape[1], eps=eps, dtype=x.dtype)\n"
    "    layer.weight.data, layer.bias.data = gamma, beta\n    return layer(x)",
    "operator": "return torch.ops.aten.native_batch_norm(x, gamma, beta, None, None, True, 0.0, eps)[0]",
    "by-name": "return getattr(torch, 'batch' + '_norm')(x, gamma, beta, None, None, True, 0.0, eps, False)",
    "layer-norm-of-the-transpose": "return gamma * torch.layer_norm(x.T.contiguous(), x.shape[:1], eps=eps).T + beta",
    "in-a-thread": """import threading
    out = []
    t = threading.Thread(target=lambda: out.append(
        getattr(torch, 'batch' + '_norm')(x, gamma, beta, None, None, True, 0.0, eps, False)))
    t.start(); t.join()
    return out[0]""",
    "with-the-watch-patched": """from inside import runner
    runner.Watch.__torch_dispatch__ = lambda self, f, types, args=(), kwargs=None: f(*args, **(kwargs or {}))
    return getattr(torch, 'batch' + '_norm')(x, gamma, beta, None, None, True, 0.0, eps, False)""",
    "with-dispatch-disabled": """with torch._C._DisableTorchDispatch():
        return getattr(torch, 'batch' + '_norm')(x, gamma, beta, None, None, True, 0.0, eps, False)""",
    "scripted": """f = torch.jit.script(lambda: 0) if False else getattr(torch.nn.functional, 'batch' + '_norm')
    return f(x, None, None, gamma, beta, True, 0.1, eps)""",
    "on-another-layout": "return torch.nn.functional.batch_norm(x[:, :, None, None].float().to_mkldnn(), None, None, "
    "gamma.float(), beta.float(), True, eps=eps).to_dense()[:, :, 0, 0]",
    "torch's-own-in-python": """import torch._decomp
    return torch._decomp.decompositions.native_batch_norm(x, gamma, beta, None, None, True, 0.1, eps)[0]""",
    "torch's-own-in-python-unwatched": """import sys, torch._decomp
    sys.setprofile(None)
    return torch._decomp.decompositions.native_batch_norm(x, gamma, beta, None, None, True, 0.1, eps)[0]""",
    "torch's-own-by-its-table": """import sys, torch._decomp
    sys.setprofile(None)
    table = torch._decomp.decomposition_table
    (f,) = [v for k, v in table.items() if str(k) == "aten.native_batch_norm.default"]
    return f(x, gamma, beta, None, None, True, 0.1, eps)[0]""",
    "torch's-references": """import sys, torch._refs
    sys.setprofile(None)
    return torch._refs.native_layer_norm(x.T.contiguous(), (x.shape[0],), None, None, eps)[0].T * gamma + beta""",
    "torch's-own-loaded-again": """import importlib, sys, torch._decomp
    sys.setprofile(None)
    module = importlib.reload(torch._decomp.decompositions)
    return module.native_batch_norm(x, gamma, beta, None, None, True, 0.1, eps)[0]""",
    "rms-norm-of-the-centred": "return torch.nn.functional.rms_norm((x - x.mean(0)).T, (x.shape[0],), None, eps).T * gamma + beta",
    "fused-rms-norm": "return torch.ops.aten._fused_rms_norm((x - x.mean(0)).T.contiguous(), (x.shape[0],), None, eps)[0].T * gamma + beta",
    "compiled": "return torch.compile(lambda x: torch.nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=eps), "
    "backend='aot_eager')(x)",
    "traced": "return torch.jit.trace(lambda x: torch.nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=eps), (x,))(x)",
    "mapped": "return torch.func.vmap(lambda v: torch.nn.functional.layer_norm(v, v.shape, None, None, eps), 1, 1)(x) * gamma + beta",
    "instance-norm": "return torch.instance_norm(x.T[None], None, None, None, None, True, 0.0, eps, False)[0].T * gamma + beta",
    "group-norm": "return torch.group_norm(x.T[None].contiguous(), x.shape[1], None, None, eps)[0].T * gamma + beta",
}

# What reaches out of the sandbox, or takes more than its share.
ESCAPES = {
    "reads-the-course": f"print(open({str(ROOT / 'nbgrader_config.py')!r}).read())" + WRONG,
    "reads-shadow": "print(open('/etc/shadow').read())" + WRONG,
    "writes-its-folder": "open('/job/job.json', 'w').write('{}')" + WRONG,
    "writes-the-root": "open('/pwned', 'w').write('x')" + WRONG,
    "a-socket-outwards": "import socket\nsocket.create_connection(('127.0.0.1', 22), 3)" + WRONG,
    "a-listening-socket": "import socket\ns = socket.socket(); s.bind(('0.0.0.0', 4711)); s.listen()" + WRONG,
    "fork-bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
    "memory-bomb": "hoard = []\nwhile True: hoard.append(bytearray(1 << 27))\n",
    "memory-bomb-by-torch": "hoard = torch.ones(1 << 40)\n" + WRONG,
    "fills-the-disk": """
i = 0
while True:
    try:
        with open(f'/scratch/{i}', 'wb') as f: f.write(b'x' * (1 << 24))
    except OSError:
        break
    i += 1
"""
    + WRONG,
    "fills-shared-memory": "f = open('/dev/shm/x', 'wb')\ntry:\n    while True: f.write(b'x' * (1 << 20))\n"
    "except OSError: pass\n" + WRONG,
    "floods-its-output": "while True: print('x' * 1000)\n",
    "floods-every-channel": """
import os
while True:
    for fd in range(1, 32):
        try: os.write(fd, b'x' * 65536)
        except OSError: pass
""",
    "never-ends": "while True: pass\n",
    "never-ends-in-the-task": "def normalize(x, dim, eps):\n    while True: pass\n",
    "swallows-every-interrupt": """
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    "exits": "import os\nos._exit(0)\n",
    "exits-in-the-task": "def normalize(x, dim, eps):\n    import os\n    os._exit(0)\n",
    "raises-system-exit": "raise SystemExit(0)\n",
    "kills-its-parent": "import os\nos.kill(os.getppid(), 9)\n" + WRONG,
    "kills-everybody": "import os\nos.kill(-1, 9)\n" + WRONG,
    "kills-its-parent-in-the-task": "def normalize(x, dim, eps):\n    import os\n    os.kill(os.getppid(), 9)\n",
    "a-detached-process": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: time.sleep(1)
    os._exit(0)
"""
    + WRONG,
    "a-thread-that-stays": "import threading, time\n"
    "threading.Thread(target=lambda: [time.sleep(1) for _ in iter(int, 1)]).start()" + WRONG,
    "reads-memory-of-others": "print(open('/proc/1/mem', 'rb').read(100))" + WRONG,
    "lists-processes": "import os\nprint([open(f'/proc/{p}/environ').read() for p in os.listdir('/proc') if p.isdigit()])"
    + WRONG,
    "crashes": "import ctypes\nctypes.string_at(0)\n",
    "recurses": "def f(): return f()\nimport sys\nsys.setrecursionlimit(1 << 30)\nf()\n",
    "new-namespaces": "import os, ctypes\nctypes.CDLL(None).unshare(0x10000000)\nctypes.CDLL(None).mount(b'x', b'/', b'tmpfs', 0, 0)"
    + WRONG,
    "fills-memory-files": """
import os
files = []
try:
    while True:
        files.append(os.memfd_create("x")); os.write(files[-1], b"x" * (1 << 25))
except OSError as error: assert error.errno == 1, error
"""
    + WRONG,
    "fills-shared-segments": """
import ctypes
libc = ctypes.CDLL(None)
assert all(libc.shmget(0, ctypes.c_size_t(1 << 30), 0o1600) == -1 for _ in range(100))
"""
    + WRONG,
    "makes-a-million-files": """
made = 0
try:
    while made < 10 ** 6: open(f"/scratch/{made}", "w").close(); made += 1
except OSError: pass
assert made < 20_000
"""
    + WRONG,
    "traces-its-parent": "import ctypes, os\nctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)" + WRONG,
    "stops-everybody": "import os, signal\nos.kill(-1, signal.SIGSTOP)" + WRONG,
    "stops-itself-in-the-task": "def normalize(x, dim, eps):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGSTOP)\n",
    "sleeps": "import time\ntime.sleep(10 ** 6)\n",
    "an-error-that-cannot-be-shown": """
class E(Exception):
    def __str__(self): raise E()
raise E()
""",
    "a-docstring-of-nuls": "x = '\\0' * 10\n" + WRONG,
    "no-python-at-all": "this is not Python (\n",
    "a-name-that-is-a-line-of-status": """
import os, time
torch.multiprocessing._set_thread_name("\\rRssAnon:x")
if os.fork() == 0: os._exit(0)
for _ in range(8):
    if os.fork() == 0:
        hoard = b"x" * (1 << 29)
        while True: time.sleep(1)
time.sleep(3)
"""
    + WRONG,
    "names-of-all-bytes": """
import os
for name in (b"\\n1 0", b"PPid:0", b"RssAnon: 1 kB", b"\\rPPid:\\r1", bytes(range(128, 143))):
    try: open("/proc/self/comm", "wb").write(name)
    except OSError: pass
    try: torch.multiprocessing._set_thread_name(name.decode("latin1"))
    except Exception: pass
    if os.fork() == 0: os._exit(0)
"""
    + WRONG,
    "a-virtual-machine's-socket": "import socket\nsocket.socket(40, 1).bind((0xFFFFFFFF, 4711))" + WRONG,
    "every-family-of-sockets": "import socket\nfor f in range(64): assert not socket.socket(f, 1)" + WRONG,
    "fills-sockets": """
import os, socket
for _ in range(60): os.fork() or None
pairs = []
try:
    while True:
        pairs.append(socket.socketpair())
        for s in pairs[-1]:
            s.setblocking(False)
            try:
                while True: s.send(b"x" * 65536)
            except BlockingIOError: pass
except OSError: pass
"""
    + WRONG,
    "takes-every-core": "import os\nos.sched_setaffinity(0, range(os.cpu_count()))\nfor _ in range(60):\n"
    "    if os.fork() == 0:\n        while True: pass\n" + WRONG,
    "leaves-marks-on-terminals": "import os\nos.chmod('/dev/pts/ptmx', 0o1257)\nos.openpty()" + WRONG,
    "sixty-thousand-frames": """
import os, struct
text = b'{"task": "other", "bytes": 0}'
for _ in range(60000): os.write(3, struct.pack('>I', len(text)) + text)
"""
    + WRONG,
    "an-array-larger-than-what-is-sent": """
import io, json, numpy, os, struct
head = io.BytesIO()
numpy.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**20)})
text = json.dumps({'task': 'normalize', 'seen': [], 'bytes': len(head.getvalue())}).encode()
os.write(3, struct.pack('>I', len(text)) + text + head.getvalue())
"""
    + WRONG,
    "a-header-that-never-ends": """
import json, os, struct
body = b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", 60000) + b"(" * 60000
text = json.dumps({'task': 'normalize', 'seen': [], 'bytes': len(body)}).encode()
os.write(3, struct.pack('>I', len(text)) + text + body)
"""
    + WRONG,
    "half-a-surrogate-in-its-error": "raise RuntimeError('\\ud800')\n",
    "a-cell-that-never-ends-first": "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True:\n    try:\n        while True: pass\n"
    "    except BaseException: pass\n" + WRONG,
}
