"""The command line: one module a command, each imported only when it is called."""

from pipeline.cli.main import main

__all__ = ["main"]
