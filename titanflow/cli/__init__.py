"""The commands: parse, call a service, print, exit code. One file a command."""

import sys

from titanflow.errors import TitanFlowError


def main() -> None:
    """Run a command. A mistake of the user's is one line on standard error, never a traceback."""
    from titanflow.cli import commands, exit_codes
    from titanflow.telemetry import logs

    logs.set_up_for_commands()
    try:
        commands.root(standalone_mode=True)
    except TitanFlowError as error:
        print(error.one_line(), file=sys.stderr)
        sys.exit(exit_codes.of(error))
