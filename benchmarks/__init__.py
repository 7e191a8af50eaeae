"""Speed and quality beside an alternative, in one run: docs/benchmarks.md."""
