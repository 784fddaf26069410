#!/usr/bin/env python3
"""clang-tidy over the tree within a time budget; the files that changed last come first.

Each file looked at is one test; of files not reached only the number is told. The checks are those of .clang-tidy, less
those in WITHOUT: what they said of this code on 2026-11-22 was wrong or a matter of taste, as far as it was read.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import time

WITHOUT = ",".join("-" + name for name in (
    "clang-analyzer-core.NullDereference",      # does not see that a count of 0 goes with a null pointer
    "clang-analyzer-core.NonNullParamChecker",  # memcpy of 0 bytes
    "clang-analyzer-core.CallAndMessage",       # values set through a pointer on all paths that matter
    "performance-no-int-to-ptr",                # handles of Lua and epoll are integers in pointers
    "bugprone-sizeof-expression",               # arrays of pointers
    "bugprone-implicit-widening-of-multiplication-result", "bugprone-misplaced-widening-cast",
    "bugprone-not-null-terminated-result",      # lengths travel beside the bytes
    "cert-err34-c"))                            # sscanf with widths, checked by a round trip
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def look(path, build):
    """-> None, or what clang-tidy says about one file."""
    command = ["clang-tidy", "-p", build, "--quiet", f"--checks={WITHOUT}", "--warnings-as-errors=*", path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return None if done.returncode == 0 else done.stdout + done.stderr


def main():
    known = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known.add_argument("--budget", type=float, default=150, help="seconds (default 150)")
    known.add_argument("--jobs", type=int, default=2)
    known.add_argument("--build", default="build", help="the directory with compile_commands.json")
    known.add_argument("names", nargs="*", help="only files whose path contains one of these")
    args = known.parse_args()
    with open(os.path.join(ROOT, args.build, "compile_commands.json"), encoding="utf-8") as file:
        paths = {os.path.realpath(entry["file"]) for entry in json.load(file)}
    ours = tuple(os.path.join(ROOT, room, "") for room in ("runtime", "plugins"))     # tests may do what they test
    paths = [p for p in paths if p.endswith(".c") and p.startswith(ours) and (not args.names or any(n in p for n in args.names))]
    paths.sort(key=os.path.getmtime, reverse=True)
    until, passed, failed = time.monotonic() + args.budget, 0, 0

    def within(path):
        return "late" if time.monotonic() > until else look(path, args.build)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for path, said in zip(paths, pool.map(within, paths)):
            passed, failed = passed + (said is None), failed + (said not in (None, "late"))
            if said not in (None, "late"):
                print(f"{os.path.relpath(path, ROOT)}:\n{said}", flush=True)
    if passed + failed < len(paths):
        print(f"{len(paths) - passed - failed} of {len(paths)} files not looked at within {args.budget:g} s")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
