"""``make fuzz``: at least 20,000 changed inputs, seeded; ends with 1 when something was found."""

from __future__ import annotations

import argparse
import sys
import time

from fuzz import loop
from fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of cases")
    parser.add_argument("--seconds", type=float, default=3600, help="for all targets together")
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--again", metavar="KEY", help="one case: recipe:42:17")
    given = parser.parse_args()
    if given.again:
        print(loop.again(TARGETS[given.again.partition(":")[0]][0], given.again))
        return 0
    print(f"seed {given.seed}", flush=True)
    shares = sum(TARGETS[name][1] for name in given.only)
    found = {}
    for name in given.only:
        target, cases = TARGETS[name]
        seconds = given.seconds * max(cases / shares, 0.1)
        found[name] = loop.run(name, target, int(cases * given.scale), given.seed, seconds)
        print(loop.summary({name: found[name]}).splitlines()[0], flush=True)
        for what, (key, trace) in found[name].failures.items():
            print(f"  {what}\n    again: --again {key}\n{trace}", file=sys.stderr, flush=True)
    print(loop.summary(found).splitlines()[-1])
    return int(any(one.failures for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
