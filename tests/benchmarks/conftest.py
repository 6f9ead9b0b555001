"""The scripts that the benchmarks start are no tests."""

collect_ignore = ["works"]
