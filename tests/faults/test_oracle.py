"""The judge finds what it is there to find, and the proxy does what it says."""

import socket
import threading
import time
import unittest

import oracle
from proxy import Proxy


class Oracle(unittest.TestCase):

    def judge(self, found, count):
        verdict = oracle.judge(found, range(count))
        return verdict.lost, verdict.duplicated, verdict.reordered, verdict.strange

    def test_nothing_is_wrong(self):
        self.assertEqual(self.judge([("a", 0), ("b", 1), ("a", 2)], 3), (0, 0, 0, 0))

    def test_each_fault_is_counted(self):
        self.assertEqual(self.judge([("a", 0), ("a", 2)], 3), (1, 0, 0, 0))
        self.assertEqual(self.judge([("a", 0), ("a", 1), ("a", 0), ("b", 1)], 2), (0, 2, 0, 0))
        self.assertEqual(self.judge([("a", 1), ("a", 0), ("b", 2)], 3), (0, 0, 1, 0))
        self.assertEqual(self.judge([("a", 0), ("a", 7), ("a", None)], 1), (0, 0, 0, 2))

    def test_what_is_read_again_is_no_disorder(self):
        self.assertEqual(self.judge([("a", n) for n in (0, 1, 2, 1, 2, 3)], 4), (0, 2, 0, 0))

    def test_what_cannot_be_read_is_strange(self):
        self.assertEqual([oracle.number(text) for text in ('{"n":3}', '{"n":', "7", None, '{"n":"3"}', '{"m":1}')],
                         [3, None, None, None, None, None])


class Echo(threading.Thread):
    """Answers each line with itself."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.seen = []
        self.start()

    def run(self):
        while True:
            link, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(link,), daemon=True).start()

    def serve(self, link):
        while data := link.recv(1000):
            self.seen.append(data)
            link.sendall(data)


class Between(unittest.TestCase):

    def setUp(self):
        self.echo = Echo()
        self.proxy = self.enterContext(Proxy(self.echo.port))

    def connect(self):
        link = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        self.addCleanup(link.close)
        return link

    def ask(self, link, text=b"hello"):
        link.sendall(text)
        return link.recv(1000)

    def test_it_passes_on(self):
        self.assertEqual(self.ask(self.connect()), b"hello")

    def test_cut(self):
        link = self.connect()
        self.ask(link)
        self.proxy.cut()
        self.assertEqual(self.gone(link), b"")
        self.assertEqual(self.ask(self.connect()), b"hello", "a new connection is taken")

    def gone(self, link):
        try:
            return link.recv(10)
        except ConnectionError:
            return b""

    def test_an_answer_is_lost_and_its_request_arrived(self):
        self.proxy.lose_answers(every=3, times=1)
        link = self.connect()
        self.assertEqual([self.ask(link) for _ in range(2)], [b"hello"] * 2)
        link.sendall(b"third")
        self.assertEqual(self.gone(link), b"")
        self.assertEqual((self.echo.seen[-1], self.proxy.lost), (b"third", 1))

    def test_stall(self):
        link = self.connect()
        self.proxy.stall()
        link.sendall(b"later")
        link.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            link.recv(10)
        self.proxy.go_on()
        link.settimeout(10)
        self.assertEqual(link.recv(10), b"later")

    def test_delay(self):
        self.proxy.delay(0.2)
        begun = time.monotonic()
        self.ask(self.connect())
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)


if __name__ == "__main__":
    unittest.main()
