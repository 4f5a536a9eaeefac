"""Compilation is over before a sweep's clock starts: looked at in a process of its own, where nothing was compiled."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import numpy as np, torch
from numba.core.dispatcher import Dispatcher
from dkvb import metrics, searches, sweep, tiles
from dkvb.bottleneck import Bottleneck
from dkvb.compilation import warm
from dkvb.sweep import Items, budget_table


def compiled():
    functions = [item for m in (metrics, searches, sweep, tiles) for item in vars(m).items()]
    found = {(name, str(s)) for name, f in functions if isinstance(f, Dispatcher) for s in f.signatures}
    return sorted(map(list, found))


warm()
before = compiled()
c, m, d_z, d_k, v, n = 3, 29, 7, 5, 11, 211
g = torch.Generator().manual_seed(0)
keys, projection = torch.randn(c, m, d_k, generator=g), torch.randn(c, d_z, d_k, generator=g)
model = Bottleneck(projection, keys, torch.randn(c, m, v, generator=g), torch.ones(c, m, dtype=torch.bool), {})
z = torch.randn(n, d_z, generator=g).half()
codes = torch.randint(m, (n, c), generator=g).short()
items = Items(z, codes, codes[:, :, None].contiguous())
position = np.arange(c * m).reshape(c, m)
table = budget_table([position, position], [[0, 40, 87]] * 2)
for threads, count in ((1, n), (2, n), (2, 1)):
    torch.set_num_threads(threads)
    some = items.take(slice(0, count))
    sweep.sweep(model, some, table, budgets=3, forget=[[1], [2]])
print(json.dumps([before, compiled()]))
"""


def test_a_sweep_of_any_shape_compiles_nothing_after_the_warming():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert {"_predict", "_search"} <= {name for name, _ in before}
    assert after == before
