#!/usr/bin/env python3
"""Run scenarios: a pipeline in, what must come out. Python 3.11 or newer, nothing else.

    tests/scenarios/run.py [NAME...]      all, or those whose name contains NAME

A scenario is NAME.toml, or a folder NAME with scenario.toml and whatever files it brings along. Each runs in a
directory of its own. README.md beside this file lists every key.
"""

import argparse
import concurrent.futures
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import string
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
TIMEOUT_S = 30        # for a step; sanitizers are slow, and the machine may be busy
POLL_S = 0.02
MAX_SHOWN = 60        # lines of a difference
SANITIZED = re.compile(r"(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|runtime error: ")

STEP_KEYS = {"about", "run", "exit", "env", "stdin", "timeout", "signal", "fault", "write", "append", "expect", "rows"}
FILE_KEYS = {"text", "sorted", "lines", "match", "no_match", "json", "jsonl", "absent", "same_as"}


class Failed(Exception):
    """What was expected and what was found, ready to print."""


def difference(name, expected, found):
    lines = list(difflib.unified_diff(expected, found, "expected", name, lineterm="", n=2))
    more = [f"... {len(lines) - MAX_SHOWN} lines more"] if len(lines) > MAX_SHOWN else []
    return Failed("\n".join(lines[:MAX_SHOWN] + more))


def subset(expected, found, where):
    """Every key of `expected` is in `found` with that value; lists have the same length; all else is equal."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                if value == "absent":
                    continue
                raise Failed(f"{where}.{key}: expected {value!r}, but there is only {', '.join(found) or 'nothing'}")
            subset(value, found[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (a, b) in enumerate(zip(expected, found)):
            subset(a, b, f"{where}[{index}]")
    elif expected != found or isinstance(expected, bool) != isinstance(found, bool):
        raise Failed(f"{where}: expected {expected!r}, found {found!r}")


class Scenario:
    def __init__(self, path, binary):
        self.name = os.path.relpath(path, HERE).removesuffix(".toml").removesuffix("/scenario")
        self._binary = binary
        self._folder = os.path.dirname(path) if os.path.basename(path) == "scenario.toml" else None
        with open(path, "rb") as file:
            self._spec = tomllib.load(file)
        unknown = set(self._spec) - {"about", "files", "env", "market", "step"}
        unknown |= {k for s in self._spec.get("step", []) for k in set(s) - STEP_KEYS}
        unknown |= {k for s in self._spec.get("step", []) for f in s.get("expect", {}).values()
                    for k in set(f) - FILE_KEYS}
        if unknown or not self._spec.get("step"):
            raise Failed(f"{path}: " + (f"unknown keys {sorted(unknown)}" if unknown else "no [[step]]"))
        self._market = None
        self._addresses = {}

    def run(self):
        """Raises Failed with what went wrong in which step."""
        with tempfile.TemporaryDirectory(prefix="plumbline-") as self._dir:
            if self._folder:
                shutil.copytree(self._folder, self._dir, dirs_exist_ok=True)
            self._write(self._spec.get("files", {}), "w")
            try:
                if "market" in self._spec:
                    self._start_market()
                for number, step in enumerate(self._spec["step"], 1):
                    try:
                        self._step(step)
                    except Failed as failed:
                        title = step.get("about") or step.get("run", "")
                        raise Failed(f"step {number} ({title}):\n{failed}") from None
            finally:
                if self._market:
                    self._market.kill()
                    self._market.wait()
                    self._market.stdout.close()
                    self._market.stdin.close()

    def _start_market(self):
        self._market = subprocess.Popen(
            [sys.executable, os.path.join(REPO, "tests/market/market.py"), "--with-stdin", *self._spec["market"]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self._dir)
        self._addresses = json.loads(self._market.stdout.readline())

    def _write(self, files, mode):
        for name, text in files.items():
            path = os.path.join(self._dir, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, mode, encoding="utf-8") as file:
                file.write(text)

    def _env(self, step):
        a = self._addresses
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH") or k.endswith("SAN_OPTIONS")}
        env |= {"HOME": self._dir, "XDG_STATE_HOME": os.path.join(self._dir, "state"), "LC_ALL": "C.UTF-8",
                "TZ": "Asia/Kathmandu", "REPO": REPO, "DIR": self._dir}
        if a:
            env |= {"COINGECKO_URL": a["coingecko"], "COINPAPRIKA_URL": a["coinpaprika"], "ETH_RPC_URL": a["rpc"]}
        return env | self._spec.get("env", {}) | step.get("env", {})

    def _step(self, step):
        self._write(step.get("write", {}), "w")
        self._write(step.get("append", {}), "a")
        if "fault" in step:
            fault = dict(step["fault"])
            address = self._addresses[fault.pop("service")]
            urllib.request.urlopen(f"{address}/_fault?{urllib.parse.urlencode(fault)}", timeout=5).close()
        if "run" in step:
            self._command(step)
        for name, expected in step.get("expect", {}).items():
            self._file(name, expected)
        for question in step.get("rows", []):
            self._rows(question)

    def _command(self, step):
        env = self._env(step)
        words = [string.Template(w).safe_substitute(env) for w in shlex.split(step["run"])]
        if words[0] == "plumbline":
            words[0] = self._binary
        out, err = os.path.join(self._dir, "stdout"), os.path.join(self._dir, "stderr")
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(words, cwd=self._dir, env=env, stdout=stdout, stderr=stderr,
                                       stdin=subprocess.PIPE if "stdin" in step else subprocess.DEVNULL)
            try:
                status = self._wait(process, step)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        said = self._read("stderr")
        if SANITIZED.search(said):
            raise Failed(f"a sanitizer spoke up:\n{said[-6000:]}")
        name = f"SIG{signal.Signals(-status).name[3:]}" if status < 0 else status
        if name != step.get("exit", 0):
            raise Failed(f"exit {step.get('exit', 0)} expected, found {name}; stderr:\n{said[-3000:]}")

    def _wait(self, process, step):
        deadline = time.monotonic() + step.get("timeout", TIMEOUT_S)
        if "stdin" in step:
            process.stdin.write(step["stdin"].encode())
            process.stdin.close()
        for sent in step.get("signal", []):
            begun = time.monotonic()
            while time.monotonic() < begun + sent.get("after", 0) or not self._happened(sent):
                if process.poll() is not None:
                    raise Failed(f"ended with {process.returncode} before {sent}; stderr:\n{self._read('stderr')[-3000:]}")
                if time.monotonic() > deadline:
                    raise Failed(f"timed out waiting for {sent}; stderr:\n{self._read('stderr')[-3000:]}")
                time.sleep(POLL_S)
            for old, new in sent.get("move", {}).items():
                os.rename(os.path.join(self._dir, old), os.path.join(self._dir, new))
            self._write(sent.get("write", {}), "w")
            process.send_signal(getattr(signal, sent["send"]))
        try:
            return process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failed(f"still running at the timeout; stderr:\n{self._read('stderr')[-3000:]}") from None

    def _happened(self, sent):
        """The condition on which a signal is sent: a file has so many lines, or matches, or a table so many rows."""
        if "db" in sent:
            return self._count(sent) >= sent["rows"]
        text = self._read(sent.get("file", "stderr"), missing="")
        return text.count("\n") >= sent.get("lines", 0) and re.search(sent.get("match", ""), text, re.M)

    def _count(self, sent):
        """Rows of a table; 0 while there is no such database or table."""
        path = os.path.join(self._dir, sent["db"])
        if not os.path.exists(path):
            return 0
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)
        try:
            return base.execute(f"SELECT count(*) FROM {sent['table']}").fetchone()[0]
        except sqlite3.Error:
            return 0
        finally:
            base.close()

    def _read(self, name, missing=None):
        try:
            with open(os.path.join(self._dir, name), encoding="utf-8", errors="backslashreplace") as file:
                return file.read()
        except FileNotFoundError:
            if missing is None:
                raise Failed(f"{name}: no such file; there are: {', '.join(sorted(os.listdir(self._dir)))}") from None
            return missing

    def _file(self, name, expected):
        if expected.get("absent"):
            if os.path.exists(os.path.join(self._dir, name)):
                raise Failed(f"{name}: should not be there")
            return
        found = self._read(name)
        lines = found.splitlines()
        if "text" in expected and expected["text"].splitlines() != lines:
            raise difference(name, expected["text"].splitlines(), lines)
        if "sorted" in expected and sorted(expected["sorted"].splitlines()) != sorted(lines):
            raise difference(name, sorted(expected["sorted"].splitlines()), sorted(lines))
        if "same_as" in expected and self._read(expected["same_as"]) != found:
            raise difference(name, self._read(expected["same_as"]).splitlines(), lines)
        if expected.get("lines", len(lines)) != len(lines):
            raise Failed(f"{name}: {expected['lines']} lines expected, found {len(lines)}:\n{found[-2000:]}")
        for pattern in expected.get("match", []):
            if not re.search(pattern, found, re.M):
                raise Failed(f"{name}: nothing matches {pattern!r} in:\n{found[-3000:]}")
        for pattern in expected.get("no_match", []):
            if re.search(pattern, found, re.M):
                raise Failed(f"{name}: {pattern!r} should not match in:\n{found[-3000:]}")
        if "json" in expected:
            subset(expected["json"], parsed(name, found), name)
        if "jsonl" in expected:
            subset(expected["jsonl"], [parsed(name, line) for line in lines], name)

    def _rows(self, question):
        path = os.path.join(self._dir, question["db"])
        if not os.path.exists(path):
            raise Failed(f"{question['db']}: no such database")
        base = sqlite3.connect(path, timeout=5)
        try:
            found = [list(row) for row in base.execute(question["sql"])]
        except sqlite3.Error as error:
            raise Failed(f"{question['sql']}: {error}") from None
        finally:
            base.close()
        if found != question["are"]:
            raise difference(question["sql"], [json.dumps(r) for r in question["are"]], [json.dumps(r) for r in found])


def parsed(name, text):
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failed(f"{name}: not JSON ({error}): {text[:500]}") from None


def find(names):
    """Paths of the scenarios asked for, in order of their names."""
    paths = []
    for folder, _, files in os.walk(HERE):
        if "scenario.toml" in files:
            paths.append(os.path.join(folder, "scenario.toml"))
        elif folder == HERE or not os.path.exists(os.path.join(folder, "scenario.toml")):
            paths += [os.path.join(folder, f) for f in files if f.endswith(".toml")]
    return [p for p in sorted(paths) if not names or any(n in os.path.relpath(p, HERE) for n in names)]


def attempt(path, binary):
    """-> (name, seconds, None or what failed)."""
    begun = time.monotonic()
    name = os.path.relpath(path, HERE)
    try:
        scenario = Scenario(path, binary)
        name = scenario.name
        scenario.run()
        return name, time.monotonic() - begun, None
    except Failed as failed:
        return name, time.monotonic() - begun, str(failed)
    except Exception as error:  # a mistake in the scenario itself fails that one, not all
        return name, time.monotonic() - begun, f"{type(error).__name__}: {error}"


def main():
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("names", nargs="*", metavar="NAME")
    known.add_argument("--plumbline", default=os.environ.get("PLUMBLINE", os.path.join(REPO, "build/plumbline")))
    known.add_argument("--jobs", type=int, default=2)
    known.add_argument("--verbose", action="store_true", help="name the passed ones too")
    args = known.parse_args()
    binary = os.path.abspath(args.plumbline)
    if not os.access(binary, os.X_OK):
        sys.exit(f"{args.plumbline}: no such program; build it first, or name it with --plumbline")
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, seconds, why in pool.map(lambda path: attempt(path, binary), find(args.names)):
            passed, failed = passed + (why is None), failed + (why is not None)
            if why is not None:
                print(f"FAILED {name} ({seconds:.1f} s)\n" + "\n".join("    " + l for l in why.splitlines()), flush=True)
            elif args.verbose:
                print(f"ok {name} ({seconds:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
