"""`python -m benchmarks [NAME ...]`: measure, print one table, keep it in results.json."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from benchmarks.result import merge, read, read_committed, regressions, table, write
from benchmarks.suite import names, run


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks of these names, or all.

    Returns:
        0; 1 when one of them failed or became worse by more than 20 %; 2 when there is none of a name.
    """
    if strangers := [name for name in arguments if name not in names()]:
        print(f"There is no benchmark {strangers[0]}; choose from {', '.join(names())}.", file=sys.stderr)
        return 2
    committed, failed, measured = read_committed(), [], []
    for name in arguments or names():
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            found = run(name)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        measured += [result.row() for result in found]
        write(merge(read(), found))
    if measured:
        print(table(measured))
    worse = regressions(committed, measured)
    for sentence in worse:
        print(f"Worse than before: {sentence}", file=sys.stderr)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if worse or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
