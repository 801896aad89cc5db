"""The sandbox: a local Meta, a program of its own. It shares nothing with the code it judges. docs/sandbox.md."""

from titanflow.sandbox.app import main

__all__ = ["main"]
