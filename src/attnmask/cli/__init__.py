"""The command line, on top of everything else: one file a command, without logic of its own."""

from attnmask.cli.command_line import app as app
from attnmask.cli.command_line import main as main
