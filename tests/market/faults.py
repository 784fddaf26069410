"""Faults that an answer can be given on demand, and how each is sent.

GET /_fault?kind=KIND[&count=N][&retry_after=S][&seconds=S] on the port of the service that shall misbehave: the next
N requests (default 1; -1 for ever) meet it. kind=none clears what is left.
"""

import gzip
import socket
import struct
import time

# Sent instead of the right answer.
STATUS = {
    "429": (429, '{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit."}}'),
    "429_text": (429, "Throttled"),
    "402": (402, '{"error":"Payment Required"}'),
    "401": (401, '{"error":"invalid api key"}'),
    "500": (500, '{"error":"internal server error"}'),
    "503": (503, "<html><body><h1>503 Service Unavailable</h1></body></html>"),
    "html": (200, "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"),
    "empty": (200, ""),
    "not_object": (200, "[1,2,3]"),
}
# Put in place of the price in the right answer.
PRICE = {"nan": "NaN", "zero": "0", "negative": "-1.5", "huge": "1e999", "null": "null", "text": '"abc"'}
# The right answer, sent badly, or cut.
TRANSPORT = ("truncated", "slow", "endless", "bomb", "reset")
MISSING = "missing_id"
# What the chain answers wrongly; see chain.py. A frozen chain publishes no round until kind=thaw.
RPC = ("chain_id", "decimals", "description", "no_code", "limited", "revert", "unpublished", "short", "future",
       "zero", "negative")
SWITCH = ("freeze", "thaw")

ENDLESS_BYTES = 1 << 30    # even an endless body ends
ENDLESS_S = 60
BOMB_BYTES = 64 << 20      # unpacked; on the wire a thousandth of it
SLOW_S = 10.0


def kinds(service):
    """The faults that `service` (coingecko, coinpaprika or rpc) can have."""
    own = RPC + SWITCH if service == "rpc" else tuple(PRICE) + (MISSING,)
    return tuple(STATUS) + TRANSPORT + own


class Fault:
    def __init__(self, kind, count=1, retry_after=None, seconds=SLOW_S):
        self.kind, self.count, self.retry_after, self.seconds = kind, count, retry_after, min(seconds, ENDLESS_S)


class Faults:
    """The fault that each service has now; the caller holds a lock."""

    def __init__(self):
        self._now = {}

    def set(self, service, fault):
        self._now[service] = fault if fault.kind != "none" and fault.count != 0 else None

    def take(self, service):
        """The fault that this request meets, or None."""
        fault = self._now.get(service)
        if fault is not None and fault.count > 0:
            fault.count -= 1
            if fault.count == 0:
                self._now[service] = None
        return fault


def spoil(body, served, kind):
    """`body` with its first price replaced as `kind` says."""
    if kind in PRICE and served:
        return body.replace(f":{served[0][1]}", f":{PRICE[kind]}", 1)
    return body


def send_badly(handler, fault, body):
    """Send `body` as a transport fault: late, cut, without end, or not at all."""
    raw = body.encode()
    if fault.kind == "reset":
        linger = struct.pack("ii", 1, 0)       # close() sends RST
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.close_connection = True
        handler.connection.close()
        return
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json; charset=utf-8")
    handler.send_header("Connection", "close")
    handler.close_connection = True
    if fault.kind == "truncated":
        handler.send_header("Content-Length", str(len(raw) * 2 // 3))
        handler.end_headers()
        handler.wfile.write(raw[:len(raw) * 2 // 3])
    elif fault.kind == "slow":
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        for byte in raw:
            handler.wfile.write(bytes([byte]))
            time.sleep(fault.seconds / len(raw))
    elif fault.kind == "bomb":
        packed = gzip.compress(b" " * BOMB_BYTES)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)
    else:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        until = time.monotonic() + ENDLESS_S
        for _ in range(ENDLESS_BYTES // 0x10000):
            if time.monotonic() > until:
                break
            handler.wfile.write(chunk)
