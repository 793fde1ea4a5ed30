"""Whole training steps, measured. Each module is a command: ``python -m benchmarks.gpu --help``."""
