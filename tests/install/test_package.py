"""What a user gets: an installed copy that runs anywhere, a plugin built outside the tree against it, and ./demo."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("PLUMBLINE_BUILD", os.path.join(ROOT, "build"))


def run(argv, seconds=120, **options):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, **options)


def with_environment(text):
    """The processes whose environment holds `text`: those of one demo know the name of its database."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if text.encode() in file.read():
                    found.append(entry)
        except OSError:
            continue        # gone in between, or not ours
    return found


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="plumbline-install-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder, cls.prefix = folder.name, os.path.join(folder.name, "prefix")
        done = run(["cmake", "--install", BUILD, "--prefix", cls.prefix])
        assert done.returncode == 0, done.stdout + done.stderr
        cls.binary = os.path.join(cls.prefix, "bin", "plumbline")

    def ran(self, *words, status=0, **env):
        done = run([self.binary, *words], cwd=self.folder,
                   env={"PATH": os.environ["PATH"], "HOME": self.folder,
                        **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **env})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def outside(self):
        """The plugin of tests/install/outside/, built with nothing but what pkg-config tells."""
        home = os.path.join(self.folder, "outside")
        os.makedirs(home, mode=0o755, exist_ok=True)
        shutil.copy(os.path.join(HERE, "outside", "countdown.c"), home)
        found = [os.path.join(base, "plumbline.pc") for base, _, files in os.walk(self.prefix) if "plumbline.pc" in files]
        self.assertEqual(len(found), 1)
        flags = run(["pkg-config", "--cflags", "plumbline"],
                    env=dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(found[0]))).stdout.split()
        self.assertIn(f"-I{self.prefix}/include", [os.path.normpath(flag) for flag in flags])
        done = run(["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fPIC", "-shared", *flags,
                    "countdown.c", "-o", "countdown.so"], cwd=home)
        self.assertEqual(done.returncode, 0, done.stderr)
        return home

    def test_it_runs_and_finds_its_plugins(self):
        self.assertRegex(self.ran("--version"), r"^plumbline \d+\.\d+\.\d+")
        listed = self.ran("plugins")
        for name in ("chainlink", "coingecko", "coinpaprika", "file", "generate", "http", "kafka", "sqlite", "timescale"):
            self.assertRegex(listed, rf"(?m)^\s*{name}\b")

    def test_the_pipelines_are_there_and_right(self):
        folder = os.path.join(self.prefix, "share", "plumbline", "pipelines")
        environment = {"ETH_RPC_URL": "http://127.0.0.1:1", "PG_DSN": "postgresql://127.0.0.1:1/x", "INPUT": "in.jsonl",
                       "OUTPUT": "out.jsonl"}
        names = [name for name in os.listdir(folder) if name.endswith(".yaml")]
        self.assertIn("price_accuracy.yaml", names)
        for name in names:
            with self.subTest(name):
                self.ran("check", os.path.join(folder, name), **environment)

    def test_a_plugin_from_outside_the_tree_runs(self):
        home = self.outside()
        described = self.ran("plugins", "countdown", "--plugin-dir", home)
        for text in ("counts down", "from", "the first number", "lift off"):
            self.assertIn(text, described)
        pipeline = os.path.join(self.folder, "countdown.yaml")
        with open(pipeline, "w", encoding="utf-8") as file:
            file.write("pipeline: countdown\n"
                       "sources: { count: { plugin: countdown, with: { from: 4 } } }\n"
                       "sinks: { out: { from: count, plugin: file, with: { path: count.jsonl } } }\n")
        self.ran("run", pipeline, "--summary", "summary.json", PLUMBLINE_PLUGIN_PATH=home)
        with open(os.path.join(self.folder, "count.jsonl"), encoding="utf-8") as file:
            self.assertEqual([json.loads(line) for line in file],
                             [{"n": 4}, {"n": 3}, {"n": 2}, {"n": 1, "word": "lift off"}])

    def test_an_option_of_that_plugin_is_checked_like_any_other(self):
        home = self.outside()
        pipeline = os.path.join(self.folder, "wrong.yaml")
        with open(pipeline, "w", encoding="utf-8") as file:
            file.write("pipeline: wrong\n"
                       "sources: { count: { plugin: countdown, with: { form: 4 } } }\n"
                       "sinks: { out: { from: count, plugin: file, with: { path: '-' } } }\n")
        done = run([self.binary, "check", "--plugin-dir", home, pipeline])
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean 'from'?", done.stderr)

    def test_a_plugin_that_others_may_write_is_refused(self):
        home = self.outside()
        os.chmod(os.path.join(home, "countdown.so"), 0o777)
        done = run([self.binary, "plugins", "countdown", "--plugin-dir", home])
        os.unlink(os.path.join(home, "countdown.so"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("countdown", done.stderr)

    def test_uninstalling_leaves_nothing(self):
        prefix = os.path.join(self.folder, "second")
        self.assertEqual(run(["cmake", "--install", BUILD, "--prefix", prefix]).returncode, 0)
        done = run(["cmake", "--build", BUILD, "--target", "uninstall"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([name for _, _, files in os.walk(prefix) for name in files], [])


class Demo(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="plumbline-demo-")
        self.addCleanup(folder.cleanup)
        self.base = os.path.join(folder.name, "prices.sqlite")

    def test_it_measures_all_pairs_and_ends(self):
        done = run(["./demo", "--for", "12s", "--db", self.base], 120, cwd=ROOT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for pair in ("ETH-USD", "LINK-USD", "BTC-USD"):
            self.assertRegex(done.stdout, rf"(?m)^{pair} +[\d,.]+ +[\d,.]+ +[+-]\d+\.\d+ % ")
        with sqlite3.connect(self.base) as base:
            found = base.execute("SELECT pair, count(deviation_pct) FROM price_deviation WHERE basis = 'now' GROUP BY pair")
            self.assertEqual({pair for pair, n in found if n > 0}, {"ETH-USD", "LINK-USD", "BTC-USD"})
        self.assertIn(f"sqlite3 {self.base}", done.stdout)

    def test_ctrl_c_ends_everything(self):
        child = subprocess.Popen(["./demo", "--db", self.base], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, start_new_session=True)
        try:
            for _ in range(600):
                if os.path.exists(self.base):
                    break
                time.sleep(0.1)
            os.killpg(child.pid, signal.SIGINT)
            said, _ = child.communicate(timeout=40)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
        self.assertEqual(child.returncode, 0, said)
        self.assertEqual(with_environment(self.base), [])

    def test_a_live_demo_without_a_node_says_what_is_missing(self):
        done = run(["./demo", "--live", "--for", "1s", "--db", self.base], env=dict(os.environ, ETH_RPC_URL=""), cwd=ROOT)
        self.assertEqual(done.returncode, 2)
        self.assertIn("ETH_RPC_URL", done.stderr)


if __name__ == "__main__":
    unittest.main()
