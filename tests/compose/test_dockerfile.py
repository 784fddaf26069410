"""The Dockerfile's steps, in a Debian made for it. Only in `./tests/run --long`: it installs a compiler's worth of packages."""

import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import chroot
import model
from servers import cache_dir


class Steps(unittest.TestCase):
    def test_the_image_builds_and_runs(self):
        with tempfile.TemporaryDirectory(prefix="plumbline-image-") as work:
            stages = {}
            for name in ("build", "runtime"):
                stages[name] = chroot.Stage(name, work, str(cache_dir()), stages).build()
            image = stages["runtime"]
            self.assertIn("usage: plumbline", image.inside(image.entry + image.command, user=image.user))
            self.assertIn("plumbline ", image.inside([*image.entry, "--version"], user=image.user))
            self.assertIn("kafka", image.inside([*image.entry, "plugins"], user=image.user))
            for name, service in model.load({"ETH_RPC_URL": "http://127.0.0.1:1"})["services"].items():
                if service.get("image") == "plumbline:latest":
                    image.env |= service["environment"]
                    image.inside([*image.entry, "check", service["command"][1]], user=image.user)
            self.assertEqual(image.inside(["id", "-u"], user=image.user).strip(), "10001")


def load_tests(_loader, tests, _pattern):
    return tests if os.environ.get("PLUMBLINE_LONG") else unittest.TestSuite()


if __name__ == "__main__":
    unittest.main()
