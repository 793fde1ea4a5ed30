"""A samdan command on the pretended device; its last line says what the device saw, as JSON."""

from __future__ import annotations

import json
import sys

from pretended.device import Device, install

if __name__ == "__main__":
    install()
    from samdan.cli import main

    code: object = 0
    with Device() as device:
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    # Before the first pass the attention kernel is tried, and waited for.
    waits = [wait for wait in device.waits if "probe" not in wait.functions]
    between = [wait for wait in waits if "train_steps" in wait.functions and not wait.in_a_pass]
    seen = {
        "attention_calls": device.attention_calls,
        "waits_in_passes": sorted({repr(wait) for wait in waits if wait.in_a_pass}),
        "waits_between_passes": sorted(map(repr, between)),
    }
    print(json.dumps(seen))
    sys.exit(code)  # type: ignore[arg-type]
