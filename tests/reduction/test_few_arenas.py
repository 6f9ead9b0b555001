"""Threads share two heaps, unless the environment has a number of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")

PROGRAM = """
import ctypes, threading
from xgamma.reduction.allocator import few_arenas

print(few_arenas())
barrier = threading.Barrier(4)

def work():
    memory = bytearray(50_000)
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize(("value", "changed", "most"), [(None, "True", 2), ("3", "False", 3)])
def test_threads_share_heaps(value, changed, most):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | ({"MALLOC_ARENA_MAX": value} if value else {})
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [changed]
    # two where each thread would have one of its own
    assert done.stderr.count("Arena ") == most
