"""Speed and quality beside an alternative, in one run: docs/measured.md."""
