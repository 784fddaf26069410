"""The demo's table says what the rows say."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import table


def stamp(seconds_ago):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - seconds_ago)) + ".25Z"


class Table(unittest.TestCase):
    def test_a_measured_and_an_inconclusive_pair(self):
        found = [("ETH-USD", "2415.43123", "2400.1", "0.638745", "0.14", "over_band", stamp(1), stamp(30)),
                 ("BTC-USD", "76512.2", None, None, None, "inconclusive", stamp(2), stamp(7200))]
        cells, measured = table.rows(found, time.time() - 60)
        self.assertEqual(measured, {"ETH-USD"})
        lines = table.draw(cells, False)
        self.assertEqual([line.split()[0] for line in lines], ["pair", "ETH-USD", "LINK-USD", "BTC-USD"])
        self.assertRegex(lines[1], r"^ETH-USD +2,415\.43 +2,400\.10 +\+0\.639 % +0\.140 % +over_band +(29|30|31) s +[01] s ago$")
        self.assertRegex(lines[2], r"^LINK-USD( +-){7}$")
        self.assertRegex(lines[3], r"^BTC-USD +76,512\.20 +- +- +- +inconclusive +(119|120) min +[12] s ago$")

    def test_what_an_earlier_run_left_is_not_shown(self):
        found = [("ETH-USD", "1", "1", "0.0", "0.0", "ok", stamp(100), stamp(200))]
        self.assertEqual(table.rows(found, time.time() - 60), ({}, set()))

    def test_times_as_sqlite_and_postgresql_write_them(self):
        for text in ("2026-11-22T10:00:00Z", "2026-11-22 10:00:00+00", "2026-11-22T10:00:00.000Z"):
            self.assertEqual(table.seconds(text), 1795341600, text)
        self.assertIsNone(table.seconds("soon"))
        self.assertIsNone(table.seconds(None))

    def test_colours_do_not_change_the_text(self):
        cells, _ = table.rows([("ETH-USD", "1", "1", "0", "0", "stale", stamp(1), stamp(1))], 0)
        coloured = "\n".join(table.draw(cells, True))
        self.assertIn("\033[33mstale", coloured)


if __name__ == "__main__":
    unittest.main()
