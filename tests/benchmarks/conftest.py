"""The scripts that the benchmarks start are no tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

collect_ignore = ["works", "beside.py"]
