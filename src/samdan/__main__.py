"""Where the ``samdan`` command begins.

``status`` and ``report`` are asked often and must answer at once: they are answered here, without
loading the command-line library, when they are called in their plain form.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def main() -> None:
    """Runs the command."""
    os.umask(os.umask(0o022) | 0o002)  # nothing that everybody may write to
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name may be no UTF-8
    if not _answered(sys.argv[1:]):
        from samdan.cli import main as full

        full()


def _answered(arguments: list[str]) -> bool:
    plain = [a for a in arguments if a != "--json"]
    if len(plain) != 2 or plain[0] not in ("status", "report") or plain[1].startswith("-"):
        return False
    as_json = "--json" in arguments
    if as_json and plain[0] == "report":
        return False
    from samdan.printing import printable
    from samdan.records import SamdanError
    from samdan.redaction import redacted, secrets_of
    from samdan.run.status import again, shown

    folder = Path(plain[1])
    try:
        print(shown(folder, as_json) if plain[0] == "status" else again(folder))
    except SamdanError as error:
        told = printable(redacted(str(error), secrets_of(os.environ)))
        print(f"samdan: {told}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:
        pass
    except OSError as error:
        told = printable(f"{error.filename or folder}: {error.strerror or error}")
        print(f"samdan: {told}", file=sys.stderr)
        raise SystemExit(4) from None
    return True


if __name__ == "__main__":
    main()
