"""Ways to PS02's batch_norm and PS03's gradient that do not write out the formula. Each is the text of a cell."""

DEF = "def batch_norm(x, gamma, beta, eps):\n"
JAGGED = "    t = torch.nested.nested_tensor([c[:, None] for c in x.T], layout=torch.jagged)\n"
UNJAG = "    return torch.stack([v[:, 0] for v in y.unbind()], 1) * gamma + beta\n"
SERVER = '''
import os, sys
os.makedirs("/scratch/q", exist_ok=True)
code = """
import glob, os, time, torch
while True:
    for f in glob.glob("/scratch/q/*.in"):
        x, g, b, e = torch.load(f)
        torch.save(torch.nn.functional.batch_norm(x, None, None, g, b, True, eps=e), f + ".t"); os.rename(f + ".t", f[:-3] + ".out")
        os.unlink(f)
    time.sleep(0.01)
"""
START
def batch_norm(x, gamma, beta, eps):
    import time
    torch.save((x, gamma, beta, eps), "/scratch/q/1.t"); os.rename("/scratch/q/1.t", "/scratch/q/1.in")
    for _ in range(100):
        if os.path.exists("/scratch/q/1.out"): return torch.load("/scratch/q/1.out")
        time.sleep(0.01)
'''
MEMORY = """
import numpy
T = getattr(getattr(torch, "_" + "C"), "_Dispatch" + "Module")
def at(address, length, kind="|u1", fixed=True):
    class At:
        __array_interface__ = dict(data=(address, fixed), shape=(length,), typestr=kind, version=3)
    return numpy.asarray(At())
FOUND = []
for line in open("/proc/self/maps"):
    words = line.split()
    if not words[1].startswith("rw") or len(words) >= 6 and words[5] != "[heap]": continue
    low, high = (int(n, 16) for n in words[0].split("-"))
    data, i = at(low, high - low).tobytes(), -1
    while (i := data.find(id(T).to_bytes(8, "little"), i + 1)) >= 0:
        if i >= 8 and (low + i) % 8 == 0 and 0 < int.from_bytes(data[i - 8 : i], "little") < 4: FOUND.append(low + i - 8)
holder = numpy.empty(len(FOUND), object)
at(holder.__array_interface__["data"][0], len(FOUND), "<u8", False)[:] = FOUND
for number in range(len(FOUND)):
    if type(holder[number]) is T:
        try: holder[number].reset()
        except Exception: pass
at(holder.__array_interface__["data"][0], len(FOUND), "<u8", False)[:] = id(None)
def batch_norm(x, gamma, beta, eps):
    return getattr(torch, "batch" + "_norm")(x, gamma, beta, None, None, True, 0.0, eps, False)
"""
NATIVE = (
    """
lib = ctypes.CDLL(torch.__path__[0] + "/lib/libtorch_cpu.so")
"""
    + DEF
    + """
    f = getattr(lib, "_ZN2at6native14layer_norm_cpuERKNS_6TensorEN3c108ArrayRefIlEERKSt8optionalIS1_ESA_d")
    v = x.T.contiguous()
    impl = lambda t: ctypes.cast(id(t) + 16, ctypes.POINTER(ctypes.c_void_p))
    out, shape, none = (ctypes.c_void_p * 3)(), (ctypes.c_int64 * 1)(x.shape[0]), (ctypes.c_uint64 * 2)(0, 0)
    f(out, impl(v), shape, 1, none, none, ctypes.c_double(eps))
    y = torch.empty_like(v); impl(y)[0] = out[2]
    return y.T * gamma + beta
"""
)


def source_again(path: str, start: str, end: str, call: str) -> str:
    return f'''
import sys
sys.setprofile(None)
source = open(torch.__path__[0] + "/{path}").read()
i = source.index("{start}"); j = source.index("{end}", i + 10)
import torch._refs, torch._decomp.decompositions
space = {{**vars(torch._refs), **vars(torch._decomp.decompositions), "__name__": "mine"}}
exec("from __future__ import annotations\\n" + source[i:j], space)
{DEF}    return space{call}
'''


def graph(lines: str, call: str) -> str:
    return f'''{DEF}    n = x.shape[0]
    g = torch._C.parse_ir(f"""graph(%x : Tensor, %w : Tensor, %b : Tensor):
  %n : int = prim::Constant[value={{n}}]()
  %s : int[] = prim::ListConstruct(%n)
  %e : float = prim::Constant[value={{eps!r}}]()
  %t : bool = prim::Constant[value=0]()
  {lines}
  return (%y)""")
    {call}
'''


SCRIPT = """    n = x.shape[0]; w = torch.ones(n, dtype=x.dtype); b = torch.zeros(n, dtype=x.dtype)
    unit = torch.jit.CompilationUnit(f\"\"\"
def f(x, w, b):
    y = torch.layer_norm(x * 1.0, [{n}], w, b, {eps!r})
    return y * 1.0
\"\"\")
"""
ROUTES = {
    "jagged": DEF + JAGGED + "    y = torch.layer_norm(t, t.shape[1:], None, None, eps)\n" + UNJAG,
    "jagged by getattr": DEF + JAGGED + "    y = getattr(torch, 'layer_' + 'norm')(t, t.shape[1:], None, None, eps)\n" + UNJAG,
    "jagged unwatched": "import sys\n" + DEF + "    sys.setprofile(None)\n" + JAGGED
    + "    y = torch.layer_norm(t, t.shape[1:], None, None, eps)\n" + UNJAG,
    "jagged by its table": "import sys, torch.nested._internal.ops as ops\nTABLE = dict(ops.JAGGED_OPS_TABLE)\n" + DEF
    + "    sys.setprofile(None)\n" + JAGGED + "    op = torch.ops.aten.native_layer_norm.default\n"
    "    y = TABLE[op](op, t, t.shape[1:], None, None, eps)[0]\n" + UNJAG,
    "a server by posix_spawn": SERVER.replace("START", "os.posix_spawn(sys.executable, [sys.executable, '-c', code], dict(os.environ))"),
    "a server by subprocess": SERVER.replace("START", "import subprocess; subprocess.Popen([sys.executable, '-c', code])"),
    "a server by exec": SERVER.replace("START", "if os.fork() == 0: os.execv(sys.executable, [sys.executable, '-c', code])"),
    "a server by fork": SERVER.replace("START", "if os.fork() == 0: exec(code)"),
    "a server by multiprocessing": SERVER.replace("START", "import multiprocessing as m; m.set_start_method('spawn'); m.Process(target=exec, args=(code,)).start()"),
    "the library in memory": MEMORY,
    "native code by ctypes": "import ctypes" + NATIVE,
    "native code by numpy's ctypes": "import numpy.ctypeslib\nctypes = numpy.ctypeslib.ctypes" + NATIVE,
    "native code by ctypes loaded again": "import sys, importlib\nfor n in [n for n in sys.modules if 'ctypes' in n]: del sys.modules[n]\nimport ctypes" + NATIVE,
    "native code by cffi": "import cffi\nlib = cffi.FFI().dlopen(None)\n" + DEF + "    return lib.layer_norm(x)\n",
    "one's own shared library": "import base64, importlib.util, shutil, sys, glob\n"
    "shutil.copy(glob.glob(torch.__path__[0] + '/_C*.so')[0], '/scratch/_C.so')\n"
    "spec = importlib.util.spec_from_file_location('_C', '/scratch/_C.so')\nmodule = importlib.util.module_from_spec(spec)\n"
    + DEF + "    return module._VariableFunctions.batch_norm(x, gamma, beta, None, None, True, 0.0, eps, False)\n",
    "oneDNN's layer norm in a graph": graph(
        "%y : Tensor = prim::MKLDNNLayerNorm(%x, %s, %w, %b, %e, %t)",
        "y = torch._C._create_function_from_graph('f', g)(x.float().T.contiguous().to_mkldnn(), torch.ones(n).to_mkldnn(), "
        "torch.zeros(n).to_mkldnn()); return y.to_dense().T.to(x.dtype) * gamma + beta"),
    "oneDNN's layer norm by its name": DEF + "    n = x.shape[0]\n    y = torch.ops.prim.MKLDNNLayerNorm(x.float().T.contiguous()"
    ".to_mkldnn(), [n], torch.ones(n).to_mkldnn(), torch.zeros(n).to_mkldnn(), eps, False)\n"
    "    return y.to_dense().T.to(x.dtype) * gamma + beta\n",
    "the static runtime": DEF + SCRIPT + "    g = unit.f.graph; torch._C._jit_pass_inline(g)\n"
    "    return torch._C._jit_to_static_module(g)(x.T.contiguous(), w, b).T * gamma + beta\n",
    "the static runtime's operator": graph(
        "%y : Tensor, %m : Tensor, %r : Tensor = static_runtime::layer_norm(%x, %s, %w, %b, %e, %t)",
        "return torch._C._jit_to_static_module(g)(x.T.contiguous(), torch.ones(n, dtype=x.dtype), torch.zeros(n, dtype=x.dtype)).T * gamma + beta"),
    "a graph changed by hand": DEF + SCRIPT + "    g = unit.f.graph; g.insertNode(g.create('prim::MKLDNNLayerNorm'))\n"
    "    return unit.f(x.T.contiguous(), w, b).T * gamma + beta\n",
    "oneDNN's fusion": DEF + "    torch.jit.enable_onednn_fusion(True)\n" + SCRIPT
    + "    with torch.no_grad():\n        for _ in range(4): y = unit.f(x.float().T.contiguous(), w.float(), b.float())\n    return y.T.to(x.dtype) * gamma + beta\n",
    "scripted": DEF + SCRIPT + "    return unit.f(x.T.contiguous(), w, b).T * gamma + beta\n",
    "torch's source of batch norm": source_again("_decomp/decompositions.py", "def native_batch_norm_helper(", "@register_decomposition",
                                                 '["native_batch_norm_helper"](x, gamma, beta, None, None, True, 0.1, eps, False)[0]'),
    "torch's source of normalization": source_again("_refs/__init__.py", "def _normalize(", "# add all specified", '["_normalize"](x, [0], eps)[0] * gamma + beta'),
    "torch's source for its tests": source_again("testing/_internal/common_methods_invocations.py", "def reference_native_layer_norm(", "\\ndef ",
                                                 '["reference_native_layer_norm"](x.T.numpy(), (x.shape[0],), None, None, eps)[0].T * gamma + beta'),
    "torch's decompositions afresh": "import sys\nsys.setprofile(None)\nimport torch._decomp\n"
    "for t in torch._decomp.global_decomposition_table.values(): t.clear()\n"
    "for n in [n for n in sys.modules if n.startswith(('torch._decomp', 'torch._refs'))]: del sys.modules[n]\n"
    "import torch._decomp.decompositions as d\n" + DEF + "    return d.native_batch_norm(x, gamma, beta, None, None, True, 0.1, eps)[0]\n",
    "a function that somebody holds": "import gc, sys\ngc.unfreeze()\nHELD = [o for o in gc.get_objects() if type(o).__name__ == 'function' and o.__name__ == 'native_batch_norm_helper']\n"
    + DEF + "    sys.setprofile(None)\n    return HELD[0](x, gamma, beta, None, None, True, 0.1, eps, False)[0]\n",
    "the code of a function": "import gc, sys, types\ngc.unfreeze()\nHELD = [o for o in gc.get_objects() if type(o).__name__ == 'function' and o.__name__.startswith('native_batch_norm')]\n"
    + DEF + "    sys.setprofile(None)\n    return types.FunctionType(HELD[0].__code__, vars(torch))(x, gamma, beta, None, None, True, 0.1, eps, False)[0]\n",
    "its gradient as forward": DEF + "    m, s, out = x.mean(0), (x.var(0, correction=0) + eps).rsqrt(), torch.empty_like(x)\n"
    "    for i in range(len(x)):\n        dy = torch.zeros_like(x); dy[i] = 1\n"
    "        out[i] = torch.ops.aten.native_batch_norm_backward(dy, x, torch.ones_like(gamma), None, None, m, s, True, eps, [False, True, False])[1]\n"
    "    return out * gamma + beta\n",
    "F.normalize with a row of eps": DEF + "    z = torch.cat([x - x.mean(0), x.new_full((1, x.shape[1]), (len(x) * eps) ** 0.5)])\n"
    "    return torch.nn.functional.normalize(z, dim=0)[:-1] * len(x) ** 0.5 * gamma + beta\n",
    "scipy": DEF + "    import scipy.stats\n    s = x.std(0, correction=0)\n"
    "    return torch.as_tensor(scipy.stats.zscore(x.numpy())) * s / (s ** 2 + eps).sqrt() * gamma + beta\n",
    "scikit-learn": DEF + "    from sklearn.preprocessing import scale\n    s = x.std(0, correction=0)\n"
    "    return torch.as_tensor(scale(x.numpy())) * s / (s ** 2 + eps).sqrt() * gamma + beta\n",
    "the course's own": "from normcore.functional import batch_norm as theirs\n" + DEF + "    return theirs(x, None, None, gamma, beta, training=True, eps=eps)\n",
    "kept before it is taken": "kept = torch.ops.aten.native_batch_norm.default\n" + DEF + "    return kept(x, gamma, beta, None, None, True, 0.0, eps)[0]\n",
    "answered in the cell": "import sys\nf = sys._getframe()\nwhile f and 'inputs' not in f.f_locals: f = f.f_back\nINPUTS = dict(f.f_locals['inputs'])\n"
    "TABLE = [torch.nn.functional.batch_norm(*(torch.tensor(INPUTS[f'batch_norm/{i}/{k}']) for k in ('x',)), None, None, training=True) for i in range(12)]\n"
    + DEF + "    return next(t for t in TABLE if t.shape == x.shape) * gamma + beta\n",
}  # fmt: skip

SCRIPTED = '''
unit = torch.jit.CompilationUnit("""
def f(x, g, b, e: float):
    c = x - torch.mean(x, [0], True)
    return g * (c * torch.rsqrt(torch.mean(c * c, [0], True) + e)) + b
""")
'''
GRADIENT = "def batch_norm_backward(dy, x, gamma, eps):\n    sys.setprofile(None)\n"
LEAVES = "    a, g, b = (v.clone().requires_grad_() for v in (x, gamma, torch.zeros_like(gamma)))\n"
GRADIENTS = {
    "differentiated by TorchScript": SCRIPTED + GRADIENT + "    d = torch._C._jit_differentiate(unit.f.graph.copy())\n"
    "    return torch._C._create_function_from_graph('G', d.df)(dy, x, gamma, eps)\n",
    "recorded by TorchScript": SCRIPTED + GRADIENT + LEAVES + "    for _ in range(4): y = unit.f(a, g, b, eps)\n    return y.grad_fn(dy)\n",
    "differentiated in a script": SCRIPTED + GRADIENT + LEAVES + "    y = unit.f(a, g, b, eps)\n    return torch.ops.aten._backward(y, [a, g, b], dy) or (a.grad, g.grad, b.grad)\n",
    "torch's own for forward mode": GRADIENT + "    import torch._decomp.decompositions_for_jvp as d\n    m, s = x.mean(0), (x.var(0, correction=0) + eps).rsqrt()\n"
    "    return d.native_batch_norm_backward(dy, x, gamma, None, None, m, s, True, eps, [True] * 3)\n",
    "jagged": GRADIENT + "    t = torch.nested.nested_tensor([c[:, None] for c in x.T], layout=torch.jagged).requires_grad_()\n"
    "    y = torch.layer_norm(t, t.shape[1:], None, None, eps)\n"
    "    (d,) = torch.autograd.grad(y, t, torch.nested.nested_tensor_from_jagged((dy * gamma).T.reshape(-1, 1), t.offsets()))\n"
    "    h = (x - x.mean(0)) / (x.var(0, correction=0) + eps).sqrt()\n    return torch.stack([v[:, 0] for v in d.unbind()], 1), (dy * h).sum(0), dy.sum(0)\n",
    "the engine with functions of one's own": '''
def op(f, df):
    class O(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *a): ctx.save_for_backward(*a); return f(*a)
        @staticmethod
        def backward(ctx, g): return df(g, *ctx.saved_tensors)
    return O.apply
red = lambda g, a: g.sum(0) if g.dim() > a.dim() else g
mul = op(lambda a, b: a * b, lambda g, a, b: (red(g * b, a), red(g * a, b)))
add = op(lambda a, b: a + b, lambda g, a, b: (red(g, a), red(g, b)))
mean = op(lambda a: a.mean(0), lambda g, a: (g / len(a)).expand_as(a))
rs = op(lambda a: a.rsqrt(), lambda g, a: -g * a.rsqrt() ** 3 / 2)
neg = op(lambda a: -a, lambda g, a: -g)
''' + GRADIENT + LEAVES + "    c = add(a, neg(mean(a))); v = mean(mul(c, c))\n"
    "    y = add(mul(mul(c, rs(add(v, torch.full_like(v, eps)))), g), b)\n    y.backward(dy)\n    return a.grad, g.grad, b.grad\n",
}  # fmt: skip
GRADIENTS = {name: "import sys\n" + source for name, source in GRADIENTS.items()}
