# PYTHON_ARGCOMPLETE_OK
"""The entry point ``thinwire``."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from deploy.cli import bundle, classify, evaluate, policies, reproduce, serve, stream, testbed, transcribe, vqa
from deploy.cli.common import discard_output
from thinwire.errors import ThinwireError

# The disk, its quota, or what a file may hold.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets ``run`` to the function that carries it out."""
    top = argparse.ArgumentParser(
        prog="thinwire", description="Vision transformers split across an edge device and the cloud over a noisy link."
    )
    top.add_argument("--version", action="version", version=f"thinwire {version('thinwire')}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (testbed, serve, classify, vqa, transcribe, stream, evaluate, policies, bundle, reproduce):
        module.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, or 1 after an error that the user can mend, which is told on standard error.
    """
    top = parser()
    # Set by the shell that asks for completions.
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(top)
    options, rest = top.parse_known_args(arguments)
    if rest and not hasattr(options, "rest"):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        options.run(options)
    except ThinwireError as error:
        # What a library says may take several lines.
        print(f"thinwire: {error.code}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        # Extras leave packages out; one of our own that is missing is a fault to be seen whole.
        package = (error.name or "").partition(".")[0]
        if not package or find_spec(package) is not None:
            raise
        print(f"thinwire: this needs the package {package}, which an extra of pyproject.toml brings", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader left, as `head` does.
        discard_output()
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(
            f"thinwire: there is no room left to write {error.filename or 'what was computed'}: {error}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
