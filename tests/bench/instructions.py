#!/usr/bin/env python3
"""Instructions per record of the reference work, by stage; fails when they grow by more than 5% over the recorded figure.

    tests/bench/instructions.py             check; the last line is "N passed, N failed"
    tests/bench/instructions.py --record    write the figure into instructions.json

callgrind counts file_lua_file.yaml on 10,000 seeded records under the seeded scheduler, twice: the difference to a run
over fewer records is what records cost, without the start. Only instructions inside our own objects (plumbline and the
plugins) are checked. What libraries spend is shown, but it differs by distribution, and so does what the CPU lets them
choose.

A figure holds for one compiler and its major version. For another compiler the hand-written limit (programs/limit_file.cpp,
which does the same work) is built by it and counted in the same run, and the recorded figure is scaled by how the limit's
compares with the limit's recorded one. For gcc-11 and clang-14 that was right within 5% (2026-11-22), so it fails at a growth
of more than 10%.
PLUMBLINE_BUILD names the build directory (default: build; RelWithDebInfo, no sanitizers).
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parents[1]
BUILD = (REPO / os.environ.get("PLUMBLINE_BUILD", "build")).absolute()
FIGURES = HERE / "instructions.json"
FEW, MANY = 1_000, 10_000
GROWTH, GROWTH_OF_ESTIMATE = 0.05, 0.10
REFERENCE = "gcc-12"   # whose figure is scaled for a compiler that has none

# Stage by source file, relative to the tree; the first that fits.
STAGES = [
    ("file source", r"plugins/file/(source|reader|csv)|runtime/flow/(source|poller)|runtime/plugin/"),
    ("file sink", r"plugins/file/(sink|writer|line)|runtime/flow/sink"),
    ("scan and check of JSON", r"runtime/record/scan|simdjson"),
    ("decimals", r"runtime/record/(decimal|wide|lexeme)|runtime/script/decimal_lua"),
    ("edit and splice", r"runtime/record/(edit|splice|encode|template)"),
    ("fields", r"runtime/record/"),
    ("script", r"runtime/script/"),
    ("flow, queues and acknowledgements", r"runtime/(flow|graph)/"),
    ("base (arena, buffers, text)", r"runtime/base/"),
]
OTHER = "other"

_NAME = re.compile(r"\((\d+)\)(?: (.*))?$")


def self_costs(path):
    """{(object, file, function): instructions} of a callgrind output file, calls excluded."""
    names = collections.defaultdict(dict)   # callgrind abbreviates: (12) stands for what (12) was called first
    here = {"ob": "", "fl": "", "fn": ""}
    found = collections.Counter()
    skip = False   # the line behind calls= is the cost of the callee

    def resolve(space, text):
        number, name = _NAME.match(text).groups()
        if name is not None:
            names[space][number] = name
        return names[space].get(number, "")

    for line in path.read_text(errors="replace").splitlines():
        key, sign, rest = line.partition("=")
        if sign and key in ("ob", "cob"):
            name = resolve("ob", rest)
            if key == "ob":
                here["ob"] = name
        elif sign and key in ("fl", "fi", "fe", "cfi", "cfl"):
            name = resolve("fl", rest)
            if key == "fl":   # fi and fe are code inlined from elsewhere: it counts where it was inlined
                here["fl"] = name
        elif sign and key in ("fn", "cfn"):
            name = resolve("fn", rest)
            if key == "fn":
                here["fn"] = name.partition("'")[0]   # name'2 is how callgrind calls it within itself
        elif key == "calls":
            skip = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            if not skip:
                found[here["ob"], here["fl"], here["fn"]] += int(line.split()[1])
            skip = False
    return found


def callgrind(directory, name, argv, env=None):
    out = directory / f"callgrind.{name}"
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, argv)],
                          env=os.environ | (env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if "debuginfo reader" in done.stderr:
        sys.exit(f"instructions: this valgrind can't read the debugging information of {argv[0]}; build with -gdwarf-4")
    if done.returncode:
        sys.exit(f"instructions: {argv[0]} failed under valgrind (status {done.returncode}):\n{done.stderr[-2000:]}")
    return self_costs(out)


def inputs(directory):
    """{records: file of as many}"""
    recorded, few, make = directory / "all.jsonl", directory / "few.jsonl", directory / "make.yaml"
    make.write_text(json.dumps({
        "pipeline": "make", "sources": {"load": {"plugin": "generate", "with": {"count": MANY, "seed": 42}}},
        "sinks": {"out": {"from": "load", "plugin": "file", "with": {"path": str(recorded)}}}}))
    subprocess.run([BUILD / "plumbline", "run", make, "--data-dir", directory / "data"], check=True, timeout=60,
                   stderr=subprocess.DEVNULL)
    few.write_text("".join(recorded.read_text().splitlines(keepends=True)[:FEW]))
    return {FEW: few, MANY: recorded}


def per_record(few, many):
    return {key: (many[key] - few[key]) / (MANY - FEW) for key in many.keys() | few.keys()}


def counts(directory, files):
    """{(object, file, function): instructions per record}"""
    return per_record(*(callgrind(directory, str(n), [BUILD / "plumbline", "run", HERE / "file_lua_file.yaml", "--set",
                                                      "scheduler=seeded", "--data-dir", directory / f"data.{n}"],
                                  {"INPUT": str(files[n]), "OUTPUT": str(directory / "out.jsonl")}) for n in (FEW, MANY)))


def limit(directory, files):
    """Instructions per record of the hand-written program itself, without its libraries, by the build's own C++ compiler."""
    program = directory / "limit_file"
    subprocess.run([cached("CMAKE_CXX_COMPILER"), "-std=c++17", "-O2", "-g", "-o", program,
                    HERE / "programs" / "limit_file.cpp", "-lsimdjson"], check=True, timeout=300)
    found = per_record(*(callgrind(directory, f"limit.{n}", [program, files[n], directory / "out.jsonl"])
                         for n in (FEW, MANY)))
    return sum(cost for (name, _, _), cost in found.items() if name == str(program))


def ours(name, file):
    """Compiled by this build: what an archive brought into an object of ours (Lua) has no sources here."""
    return name.startswith(str(BUILD) + "/") and file != "???"


def library(name):
    """What a library's instructions stand under."""
    return "linked in: Lua" if name.startswith(str(BUILD) + "/") else pathlib.Path(name).name.split(".so")[0] or "?"


def stage_of(file, function):
    relative = file.removeprefix(str(REPO) + "/")
    return next((name for name, pattern in STAGES if re.search(pattern, relative)),
                "scan and check of JSON" if "simdjson" in function else OTHER)


def by_stage(found):
    """({stage: instructions per record in our objects}, {library: the same})"""
    stages, libraries = collections.Counter(), collections.Counter()
    for (name, file, function), cost in found.items():
        if ours(name, file):
            stages[stage_of(file, function)] += cost
        else:
            libraries[library(name)] += cost
    return stages, libraries


def cached(variable):
    """A variable of CMake's cache."""
    return re.search(rf"^{variable}:[A-Z]+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)[1]


def compiler():
    """Compiler and major version that built the program, e.g. gcc-12."""
    said = subprocess.run([cached("CMAKE_C_COMPILER"), "--version"], capture_output=True, text=True, timeout=20).stdout
    number = re.search(r"(\d+)\.\d+", said)
    return f"{'clang' if 'clang' in said else 'gcc'}-{number[1] if number else 'unknown'}"


def show(title, costs, total):
    print(title)
    for name, cost in sorted(costs.items(), key=lambda item: -item[1]):
        if cost >= 1:
            print(f"  {name:<36} {cost:8,.0f} {cost / total:6.1%}")


def verdict(measured, figures, name, measure_limit):
    """Text, and whether it is a failure. measure_limit() is asked only for a compiler without a figure of its own."""
    if name in figures:
        wanted, bound, how = figures[name]["per_record"], GROWTH, "recorded"
    else:
        scale = measure_limit() / figures[REFERENCE]["limit"]
        wanted, bound = figures[REFERENCE]["per_record"] * scale, GROWTH_OF_ESTIMATE
        how = f"no figure is recorded for {name}; by {REFERENCE}'s, times {scale:.2f} as the hand-written limit compares,"
    growth = measured / wanted - 1
    said = f"{measured:,.0f} instructions per record in our own objects, {how} {wanted:,.0f} ({growth:+.1%}, {name})"
    if growth > bound:
        return said + f": grew by more than {bound:.0%}; if it must, run {pathlib.Path(__file__).name} --record", True
    return said, False


def published(found, stages, libraries, count):
    """The same as Markdown, for docs/benchmarks.md."""
    total = sum(found.values())
    lines = ["| stage | instructions | of all |", "|---|---:|---:|"]
    lines += [f"| {name} | {cost:,.0f} | {cost / total:.1%} |" for name, cost in stages.most_common() if cost >= 1]
    lines += [f"| *{name}* | {cost:,.0f} | {cost / total:.1%} |" for name, cost in libraries.most_common() if cost >= 1]
    lines += [f"| all | {total:,.0f} | |", "", f"By {compiler()}. The most costly functions:", "",
              "| function | in | instructions |", "|---|---|---:|"]
    named = [item for item in found.items() if not item[0][2].startswith("0x")]   # Debian's Lua is stripped
    for (name, file, function), cost in sorted(named, key=lambda item: -item[1])[:count]:
        short = function.split("(")[0]
        where = pathlib.Path(file if ours(name, file) else name).name
        lines.append(f"| `{short}` | {where} | {cost:,.0f} |")
    return "\n".join(lines)


def main():
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--record", action="store_true", help="write the figure into instructions.json")
    known.add_argument("--functions", type=int, default=0, metavar="N", help="also name the N most costly functions")
    known.add_argument("--publish", action="store_true", help="write the table into docs/benchmarks.md")
    args = known.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("instructions: valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="plumbline-instructions-") as name:
        directory = pathlib.Path(name)
        return check(args, directory, inputs(directory))


def check(args, directory, files):
    found = counts(directory, files)
    stages, libraries = by_stage(found)
    total, measured = sum(found.values()), sum(stages.values())
    show("our objects, instructions per record", stages, total)
    show("libraries", libraries, total)
    print(f"  {'all':<36} {total:8,.0f}")
    for (name, file, function), cost in sorted(found.items(), key=lambda item: -item[1])[:args.functions]:
        print(f"  {cost:8,.0f} {function} ({pathlib.Path(file if ours(name, file) else name).name})")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if args.publish:
        sys.path.insert(0, str(HERE))
        from support import publish
        publish.place("instructions", published(found, stages, libraries, 15))
    if args.record:
        figures[compiler()] = {"per_record": round(measured), "limit": round(limit(directory, files)),
                               "stages": {k: round(v) for k, v in stages.most_common()}}
        FIGURES.write_text(json.dumps(dict(sorted(figures.items())), indent=2) + "\n")
        return 0
    said, failed = verdict(measured, figures, compiler(), lambda: limit(directory, files))
    print(said)
    print("0 passed, 1 failed" if failed else "1 passed, 0 failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
