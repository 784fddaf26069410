"""The other tools: found by a variable that names a binary, or built from a registry into the cache."""

import fcntl
import os
import pathlib
import shutil
import sys

from .context import BENCH, cache_dir, run
from .measure import BenchError

TELEGRAF = "1.37.2"
_TELEGRAF_TAGS = ("custom inputs.tail inputs.kafka_consumer processors.starlark outputs.file outputs.kafka "
                  "outputs.postgresql parsers.json serializers.json").replace(" ", ",")


# Those that a variable names: name in the tables, variable, folder of their configurations, words before the file's name.
GIVEN = (("Fluent Bit, Lua", "FLUENT_BIT", "fluent-bit", ["-c"]),
         ("Vector, VRL", "VECTOR", "vector", ["--quiet", "--config"]),
         ("Bento, Bloblang", "BENTO", "bento", ["-c"]))


def config(tool, name):
    """tests/bench/peers/TOOL/NAME.*"""
    found = sorted((BENCH / "peers" / tool).glob(f"{name}.*"))
    if not found:
        raise BenchError(f"tests/bench/peers/{tool}/ has no configuration for {name}")
    return found[0]


def given(ctx, tool, variable):
    """The binary that a variable names, or None with a line that says so."""
    path = os.environ.get(variable)
    if not path:
        ctx.skip(tool, f"${variable} names no binary")
        return None
    if not os.access(path, os.X_OK):
        ctx.fail(tool, f"{variable}={path}: no such program")
        return None
    return pathlib.Path(path).absolute()


def all_given(ctx, name):
    """[(name in the tables, command line)] of the tools that are at hand for the work of that name. The others are told."""
    found = []
    for tool, variable, folder, words in GIVEN:
        binary = given(ctx, tool, variable)
        if binary:
            found.append((tool, [binary, *words, config(folder, name)]))
    return found


def telegraf(ctx):
    """Telegraf, built by Go from its module into the cache (once, about 2 minutes); None where that can't be done."""
    if os.environ.get("TELEGRAF"):
        return given(ctx, "Telegraf", "TELEGRAF")
    if not shutil.which("go"):
        ctx.skip("Telegraf", "Go is not installed")
        return None
    home = cache_dir() / f"telegraf-{TELEGRAF}"
    binary = home / "telegraf"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            ctx.say(f"building Telegraf {TELEGRAF} (once)")
            (home / "go.mod").write_text("module plumbline.invalid/bench/telegraf\n\ngo 1.25\n\n"
                                         f"require github.com/influxdata/telegraf v{TELEGRAF}\n")
            try:
                run(["go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-tags", _TELEGRAF_TAGS, "-o",
                     "telegraf.new", "github.com/influxdata/telegraf/cmd/telegraf"], "building Telegraf", cwd=home)
            except BenchError as error:
                ctx.skip("Telegraf", str(error).splitlines()[0])
                return None
            (home / "telegraf.new").rename(binary)
    return binary


_PACKAGES = ["confluent-kafka==2.6.1", "psycopg[binary]==3.2.3"]


def python(ctx, subject):
    """Python with confluent-kafka and psycopg, in a venv of the cache; None where that can't be had."""
    home = cache_dir() / "bench-venv-2.6.1-3.2.3"
    binary = home / "bin" / "python"
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.parent / "bench-venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "whole").exists():
            try:
                run([sys.executable, "-m", "venv", "--clear", home], "making a venv")
                run([binary, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES],
                    "installing confluent-kafka and psycopg")
            except BenchError as error:
                ctx.skip(subject, str(error).splitlines()[0])
                return None
            (home / "whole").touch()
    return binary
