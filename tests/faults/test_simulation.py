"""The flow under the seeded scheduler and a virtual clock: tests/unit/flow/test_simulation.c, with many seeds."""

import subprocess
import unittest

import support

SEEDS = 10_000
PROGRAM = support.BUILD / "tests" / "unit_flow_test_simulation"


class Simulation(unittest.TestCase):

    def test_25_ten_thousand_seeds(self):
        """Fails with the number of the first bad seed, which PL_SEED=NUMBER then runs alone."""
        done = subprocess.run([PROGRAM], env={"PL_SEEDS": str(SEEDS)}, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
