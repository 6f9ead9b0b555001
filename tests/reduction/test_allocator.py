"""Workers keep the memory of temporary arrays, and only workers do."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")

PROGRAM = """
import resource, threading
import numpy as np
from xgamma.reduction.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    faults()
    before = faults()
    changed = keep_freed_memory()
    faults()
    print(changed, keep_freed_memory(), before, faults())

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def run(value):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"MALLOC_TRIM_THRESHOLD_": value} if value else {})
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    changed, again, before, after = done.stdout.split()
    assert changed == again
    return changed == "True", int(before), int(after)


def test_a_worker_pays_no_page_faults_for_temporary_arrays():
    changed, before, after = run("65536")
    assert changed
    # 50 arrays of 512 pages
    assert before > 20_000
    assert after < 2_000


@pytest.mark.parametrize("value", [None, "131072"])
def test_other_processes_are_left_alone(value):
    assert not run(value)[0]
