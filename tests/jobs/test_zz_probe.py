import os, signal, time, pytest
from pathlib import Path
import importlib.util, sys
spec = importlib.util.spec_from_file_location("tr", Path(__file__).with_name("test_resume.py")); tr = importlib.util.module_from_spec(spec); sys.modules["tr"]=tr; spec.loader.exec_module(tr)
started, undisturbed, many_images = tr.started, tr.undisturbed, tr.many_images

@pytest.mark.parametrize("seconds", [0.05, 0.7, 2.2, 4, 5, 6, 7, 8, 9, 10, 12])
def test_once(seconds, started, processes):
    time.sleep(seconds)
    n = len(started.artefact.standing())
    os.killpg(started.process.pid, signal.SIGINT)
    t=time.time(); code, _, err = started.ended(60)
    print("ONCE", seconds, n, code, round(time.time()-t,2), "Traceback" in err, processes.none_left(within=15))
    if code != 130 or "Traceback" in err: print(err[-1500:])

@pytest.mark.parametrize("gap", [0.0, 0.02, 0.5, 1.0, 1.5])
def test_twice(gap, started, processes):
    started.until(2)
    os.killpg(started.process.pid, signal.SIGINT)
    time.sleep(gap)
    alive = started.process.poll() is None
    if alive: os.killpg(started.process.pid, signal.SIGINT)
    t=time.time(); code, _, err = started.ended(60)
    print("TWICE", gap, alive, code, round(time.time()-t,2), "Traceback" in err, processes.none_left(within=15))
    if code != 130 or "Traceback" in err: print(err[-1500:])

@pytest.mark.parametrize("at", [0.1, 1.0, 2.5])
def test_twice_early(at, started, processes):
    time.sleep(at)
    os.killpg(started.process.pid, signal.SIGINT)
    time.sleep(0.01)
    if started.process.poll() is None: os.killpg(started.process.pid, signal.SIGINT)
    code, _, err = started.ended(60)
    print("EARLY", at, code, "Traceback" in err)
    if code != 130 or "Traceback" in err: print(err[-1500:])
