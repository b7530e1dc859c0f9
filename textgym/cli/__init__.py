"""The command ``textgym``: one thin file per command."""

from textgym.cli.app import main

__all__ = ["main"]
