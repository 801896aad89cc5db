"""`python -m titanflow`."""

from titanflow.cli import main

main()
