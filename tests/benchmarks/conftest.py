"""The benchmarks' commands run as the program's: in an empty folder, on one small model."""

from tests.cli.conftest import folder, working_folder

__all__ = ["folder", "working_folder"]
