"""Where the examples of a page run: a directory, an environment, and one treatment a language."""

import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import threading

from blocks import TOP, names_in, rest_of, section, top_keys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS = 60
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fPIC", "-shared"]
# What the pipelines of the tree want to be told; nothing answers there.
NOWHERE = {"ETH_RPC_URL": "http://127.0.0.1:1", "PG_DSN": "postgresql://127.0.0.1:1/none", "INPUT": "in.jsonl",
           "OUTPUT": "out.jsonl"}
PRICES = "prices.sqlite"
FILL = """
pipeline: fill
scheduler: seeded
include: [TABLES/table_api_price.yaml, TABLES/table_contract_price.yaml, TABLES/table_price_deviation.yaml]
defaults: { STORE }
sources:
  recorded: { plugin: file, with: { path: "RECORDED" }, time: [observed_at, fetched_at] }
transforms:
  accuracy: { from: recorded, script: "SCRIPTS/accuracy.lua", order: { by: time, slack: 6m } }
sinks:
  api_price:       { from: recorded, when: kind == "api", plugin: NAME }
  contract_price:  { from: recorded, when: kind == "contract", plugin: NAME }
  price_deviation: { from: accuracy, plugin: NAME }
"""


class Failed(Exception):
    """An example that does not do what it should."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Shared:
    """What all pages use, made when it is first asked for: an installed copy, filled databases."""

    def __init__(self, build, folder):
        self.build, self.folder = pathlib.Path(build).resolve(), pathlib.Path(folder)
        self.binary = self.build / "plumbline"
        self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._server:
            self._server.__exit__(None, None, None)

    def environment(self, home):
        kept = {k: v for k, v in os.environ.items() if k in ("LANG", "TZ") or k.endswith("SAN_OPTIONS")}
        return kept | NOWHERE | {"PATH": f"{self.build}:{os.environ['PATH']}", "HOME": str(home), "LC_ALL": "C.UTF-8"}

    @functools.cached_property
    def prefix(self):
        prefix = self.folder / "prefix"
        done = subprocess.run(["cmake", "--install", self.build, "--prefix", prefix], capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            raise Failed(f"cmake --install {self.build}: {done.stdout}{done.stderr}")
        return prefix

    @functools.cached_property
    def flags(self):
        """What pkg-config tells a plugin's author."""
        found = next(self.prefix.rglob("plumbline.pc")).parent
        done = subprocess.run(["pkg-config", "--define-prefix", "--cflags", "plumbline"], capture_output=True, text=True,
                              env=dict(os.environ, PKG_CONFIG_PATH=str(found)), timeout=SECONDS)
        if done.returncode:
            raise Failed(f"pkg-config: {done.stderr}")
        return done.stdout.split()

    def fill(self, plugin, store):
        """Recorded prices, compared, into the three tables."""
        text = FILL.replace("STORE", f"{plugin}: {store}").replace("NAME", plugin)
        text = text.replace("TABLES", str(ROOT / "pipelines/include")).replace("SCRIPTS", str(ROOT / "scripts"))
        text = text.replace("RECORDED", str(ROOT / "tests/scenarios/replay_seeded/all.jsonl"))
        file = self.folder / f"fill_{plugin}.yaml"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run([self.binary, "run", "--data-dir", self.folder / "data", file], capture_output=True, text=True,
                              timeout=SECONDS, env=self.environment(self.folder))
        if done.returncode:
            raise Failed(f"the recorded prices could not be stored: {done.stderr}")

    @functools.cached_property
    def prices(self):
        file = self.folder / PRICES
        self.fill("sqlite", f'{{ path: "{file}", create: true }}')
        return file

    @functools.cached_property
    def postgresql(self):
        sys.path.insert(0, str(ROOT / "tests"))
        from servers import Postgres, ServerError
        try:
            self._server = Postgres(self.folder / "postgres")
            self._server.__enter__()
        except ServerError as error:
            self._server = None
            raise Failed(f"no PostgreSQL: {error}") from None
        self.fill("timescale", f'{{ dsn: "{self._server.dsn}", create: true }}')
        return self._server.dsn


class Place:
    """One page's directory and environment."""

    def __init__(self, page, folder, shared):
        self.page, self.folder, self.shared = page, pathlib.Path(folder), shared
        self.env = shared.environment(folder)
        self.count = 0
        self.printed = self.script = self.first = None
        self.quoted = {}        # NAME.c -> its text

    def __enter__(self):
        for part in ("pipelines", "scripts"):
            shutil.copytree(ROOT / part, self.folder / part)
        (self.folder / "plugins").mkdir()
        self.env["PLUMBLINE_PLUGIN_PATH"] = str(self.folder / "plugins")
        handler = functools.partial(Quiet, directory=str(self.folder))
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.web.shutdown()
        self.web.server_close()

    def treat(self, block):
        how = block.how
        if "elsewhere" in how:
            self.elsewhere(block)
            return
        with_env = dict(self.env)
        for pair in how["env"]:
            name, _, value = pair.partition("=")
            if value.startswith("served:"):
                value = f"http://127.0.0.1:{self.web.server_address[1]}/{value[len('served:'):]}"
            with_env[name] = value
        getattr(self, "treat_" + block.language.replace(" ", "_"))(block, with_env)

    # ---- helpers ----

    def run(self, argv, env, status=0, **options):
        try:
            done = subprocess.run([str(word) for word in argv], cwd=self.folder, env=env, stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, **options)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"not done after {SECONDS} s: {error.output}") from None
        if done.returncode != status:
            raise Failed(f"exit status {done.returncode}, not {status}: {' '.join(map(str, argv))}\n{done.stdout}")
        return done.stdout

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    def elsewhere(self, block):
        path = ROOT / block.how["elsewhere"]
        command = block.text.strip().split("\n")[0].split("#")[0].split()[0]
        if not path.exists() or os.path.basename(command) not in path.read_text(encoding="utf-8"):
            raise Failed(f"{block.how['elsewhere']} does not run {command}")

    # ---- one a language ----

    def treat_yaml(self, block, env):
        how, text = block.how, block.text
        self.count += 1
        text = text.replace("/run/secrets/", f"{self.folder}/secrets/")
        for name in re.findall(r"\$\{file:([^}]+)\}", text):
            self.write(os.path.relpath(name, self.folder) if name.startswith("/") else name, "host=127.0.0.1\n")
        status = int(how.get("exit", 0))
        name = how.get("file", f"pipelines/example_{self.count}.yaml")
        keys = top_keys(text)
        if not keys or any(key not in TOP for key in keys):
            text = self.options_of_first(text, keys)
        elif self.page.parent.name == "plugins" and not self.first:
            self.first = (name, text)
        self.write(name, text)
        if "half" in how:
            return
        rest = rest_of(text, os.path.basename(name)) if status == 0 and "include: [example_" not in text else ""
        if rest:
            name = self.write(os.path.join(os.path.dirname(name), f"whole_{self.count}.yaml"), rest)
        for word in re.findall(r"\$\{([A-Z_]+)\}", text):
            env.setdefault(word, "x")
        self.printed = self.run([self.shared.binary, "check", name], env, status)
        if how.get("run"):
            self.printed = self.run([self.shared.binary, "run", "--data-dir", "data", name], env)

    def options_of_first(self, text, keys):
        """A part of a plugin's options: the other half of the first component on the plugin's page."""
        if not self.first:
            raise Failed(f"no part of a pipeline file: its keys are {', '.join(keys)}")
        name, whole = self.first
        part = next(part for part in ("sources", "sinks") if self.page.stem in section(whole, part))
        component = next(one for one in names_in(whole, part)
                         if re.search(rf"\b{one}:\s*(?:{{\s*|\n\s+)plugin: {self.page.stem}\b", whole))
        body = "".join("      " + line + "\n" for line in text.strip().split("\n"))
        return f"include: [{os.path.basename(name)}]\n{part}:\n  {component}:\n    with:\n{body}" + \
            rest_of(whole, "x").partition("\n")[2].replace(f"{part}:\n", "")

    def treat_lua_test(self, block, env):
        """The tests of the script before."""
        if not self.script:
            raise Failed("there is no script before it on this page")
        name = self.write(self.script[:-len(".lua")] + "_test.lua", block.text)
        self.printed = self.run([self.shared.binary, "test", name], env)

    def treat_lua_when(self, block, env):
        """An expression a line."""
        lines = [line for line in block.text.split("\n") if line.strip()]
        sinks = "".join(f"  s{i}: {{ from: in, plugin: file, with: {{ path: s{i} }}, when: {json.dumps(line)} }}\n"
                        for i, line in enumerate(lines))
        text = "sources: { in: { plugin: generate, with: { count: 1 } } }\nsinks:\n" + sinks
        self.run([self.shared.binary, "check", self.write("when.yaml", text)], env)

    def treat_lua(self, block, env):
        self.count += 1
        name = self.write(block.how.get("file", f"scripts/example_{self.count}.lua"), block.text)
        self.script = name
        if name.endswith("_test.lua"):
            self.printed = self.run([self.shared.binary, "test", name], env)
            return
        if "/lib/" in name:
            return
        text = block.text
        if not re.search(r"^\s*function on_record", text, re.M) and "every(" not in text:
            text += "\nfunction on_record(r) return r end\n"
            name = self.write(f"scripts/example_{self.count}_whole.lua", text)
        # Outputs that the script names must not go unread; a transform may have any.
        pipeline = ("sources: { in: { plugin: generate, with: { count: 1 } } }\n"
                    f"transforms: {{ it: {{ from: in, script: {name} }} }}\n"
                    "sinks: { out: { from: it, plugin: file, with: { path: out.jsonl } } }\n")
        self.printed = self.run([self.shared.binary, "check", self.write(f"check_{self.count}.yaml", pipeline)], env,
                                int(block.how.get("exit", 0)))

    def treat_c(self, block, env):
        if "quote" in block.how:
            whole = self.quoted.get(block.how["quote"])
            if whole is None:
                raise Failed(f"{block.how['quote']} is not on this page before the quotation")
            if " ".join(block.text.split()) not in " ".join(whole.split()):
                raise Failed(f"does not stand like this in {block.how['quote']}")
            return
        name = block.how.get("file")
        if not name:
            raise Failed("a C or C++ example says what it is: file=NAME, or quote=NAME")
        self.quoted[name] = block.text
        self.write(name, block.text)
        target = pathlib.Path("plugins") / (pathlib.Path(name).stem + ".so")
        compilers, standard = (("clang", "gcc"), "c11") if block.language == "c" else (("clang++", "g++"), "c++17")
        for compiler in compilers:
            self.run([compiler, f"-std={standard}", *STRICT, *self.shared.flags, name, "-o", target], env)
        self.run([self.shared.prefix / "bin/plumbline", "plugins", target.stem], env)

    treat_cpp = treat_c

    def treat_sh(self, block, env):
        if "prices.sqlite" in block.text and not (self.folder / PRICES).exists():
            shutil.copy(self.shared.prices, self.folder / PRICES)
        if (self.folder / "plugins").exists() and list((self.folder / "plugins").iterdir()):
            env["PKG_CONFIG_PATH"] = str(next(self.shared.prefix.rglob("plumbline.pc")).parent)
        self.printed = self.run(["bash", "-euo", "pipefail", "-c", block.text], env, int(block.how.get("exit", 0)))

    def treat_text(self, block, _env):
        if "file" in block.how:
            self.write(block.how["file"], block.text)
        elif "output" in block.how:
            wanted = "".join(".*?" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", block.text.strip()))
            printed = "\n".join(line.rstrip() for line in (self.printed or "").strip().split("\n"))
            if not re.fullmatch(wanted, printed, re.S):
                raise Failed(f"the command printed something else:\n{printed}")
        else:
            raise Failed("a text block is output of the command before it, or a file: say so")

    def treat_json(self, block, _env):
        try:
            json.loads(block.text)
        except ValueError:
            try:
                for line in block.text.strip().split("\n"):
                    json.loads(line)
            except ValueError as error:
                raise Failed(f"not JSON: {error}") from None
        if "file" in block.how:
            self.write(block.how["file"], block.text)

    def treat_sql(self, block, env):
        statements = [part.strip() for part in re.sub(r"--.*", "", block.text).split(";") if part.strip()]
        for statement in statements:
            if "postgresql" in block.how:
                done = self.run(["psql", "--no-psqlrc", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1", "-c", statement,
                                 self.shared.postgresql], env)
                rows = done.strip().split("\n") if done.strip() else []
            else:
                rows = self.sqlite_rows(block, statement)
            if not rows and "empty-ok" not in block.how:
                raise Failed(f"no rows: {statement}")

    def sqlite_rows(self, block, statement):
        name = block.how.get("sqlite")
        if not isinstance(name, str):
            raise Failed("an SQL example says where it runs: sqlite=FILE, or postgresql")
        path = self.shared.prices if name == PRICES else self.folder / name
        base = sqlite3.connect(path)
        try:
            return base.execute(statement).fetchall()
        except sqlite3.Error as error:
            raise Failed(f"{error}: {statement}") from None
        finally:
            base.close()
