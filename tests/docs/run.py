#!/usr/bin/env python3
"""Executes every example of the documentation: a block that no longer works is a failed test.
So is a link to nowhere, or a file named in `code` that the tree does not hold.

    tests/docs/run.py [--verbose] [PAGE...]      all pages: *.md at the root, below docs/, in pipelines/

Before, the examples of wrong.md, each of which must be found to fail: so the runner is known to look.

Environment: PLUMBLINE_BUILD, the build directory (build/ unless set). Ends with "N passed, N failed".

What happens to a block is told by its language; a comment in the line before may say more:

    <!-- example: file=greet.lua -->

  yaml   a pipeline file, or a part of one (what it lacks is added): `plumbline check`. On the page of a plugin also a part
         of its options. With run: `plumbline run`, too. half: only there for the file that includes it
  lua    a script: checked in a pipeline; a *_test.lua: `plumbline test`; with file=NAME it is there for later blocks.
         `lua test`: the tests of the script before; `lua when`: an expression a line
  c      file=NAME.c: a plugin, compiled by gcc and by clang against an installed copy; later blocks may use it.
         quote=NAME.c: stands word for word in that file. cpp: the same by g++ and clang++
  sh     run by bash in the page's own directory, which holds pipelines/, scripts/ and all files so far
  text   output: what the last sh block printed; `...` stands for anything
  json   must be JSON, one value or one a line
  sql    sqlite=FILE or postgresql: each statement runs, and gives rows unless empty-ok; prices.sqlite and the PostgreSQL
         database hold a day of recorded comparisons

  exit=N            the status that the command or the check must have
  env=NAME=VALUE    for this block; served:FILE becomes the address of that file on a loopback web server
  elsewhere=PATH    that test runs it; it must name the command
  skip because ...  for what cannot be there at all
"""

import argparse
import os
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
from blocks import PageError, read  # noqa: E402
from place import Failed, Place, Shared  # noqa: E402
from references import wrong  # noqa: E402


def pages(chosen):
    if chosen:
        return [pathlib.Path(name).resolve() for name in chosen]
    return sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "pipelines").glob("*.md"))


def run_wrong(shared, folder):
    """The examples of wrong.md: each must fail. -> (passed, failed)"""
    blocks = read("tests/docs/wrong.md", (HERE / "wrong.md").read_text(encoding="utf-8"))
    passed = failed = 0
    with Place(HERE / "wrong.md", folder, shared) as place:
        for block in blocks:
            try:
                place.treat(block)
            except Failed:
                passed += 1
                continue
            failed += 1
            print(f"FAILED {block}: nothing was found to be wrong")
    return passed, failed


def run_page(path, shared, verbose):
    """-> (passed, failed) of one page."""
    name, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    try:
        blocks = read(name, text)
    except PageError as error:
        print(f"FAILED {error}")
        return 0, 1
    lost = wrong(path, text)
    for one in lost:
        print(f"FAILED {name}: {one}")
    passed, failed = 0 if lost else 1, len(lost)
    with tempfile.TemporaryDirectory(prefix="plumbline-docs-") as folder:
        with Place(path, folder, shared) as place:
            for block in blocks:
                if "skip" in block.how:
                    print(f"not run {block} {block.how['skip']}", flush=True)
                    continue
                try:
                    place.treat(block)
                except Failed as error:
                    failed += 1
                    print(f"FAILED {block}\n" + "\n".join("    " + line for line in str(error).split("\n")), flush=True)
                    continue
                passed += 1
                if verbose:
                    print(f"passed {block}", flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--verbose", action="store_true", help="name the examples that passed, too")
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    args = parser.parse_args()
    build = os.environ.get("PLUMBLINE_BUILD", str(ROOT / "build"))
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="plumbline-docs-") as folder, Shared(build, folder) as shared:
        if not args.pages:
            with tempfile.TemporaryDirectory(prefix="plumbline-docs-") as place:
                passed, failed = run_wrong(shared, place)
        for path in pages(args.pages):
            good, bad = run_page(path, shared, args.verbose)
            passed, failed = passed + good, failed + bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
