#!/usr/bin/env python3
"""Clients that are slow, silent, gone or too many, and how the server ends: manners.py PROGRAM.
Prints TAP."""

import resource
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

from lab import Certificates, Client, PATIENCE_S, Server, run, wait_until

PROGRAM = sys.argv[1]
MADE = None
TESTS = []
HOST = "Host: localhost\r\n"
GET = f"GET / HTTP/1.1\r\n{HOST}\r\n"


def test(function):
    TESTS.append(function)
    return function


def serve(**settings):
    return Server(PROGRAM, **MADE.of_server(), **settings)


def connect(server):
    return Client(server, MADE.context())


def seconds_until_closed(client):
    began = time.monotonic()
    client.socket.settimeout(PATIENCE_S)
    try:
        while client.socket.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


@test
def slow():
    """A request that comes byte by byte has request_s in all, and then gets 408"""
    with serve(request=2, idle=60) as server:
        for text in ("GET /slow HTTP/1.1\r\nHost: localhost\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                     f"POST / HTTP/1.1\r\n{HOST}Content-Length: 99\r\n\r\n" + "a" * 50,
                     f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n" +
                     "1\r\na\r\n" * 20):
            with connect(server) as client:
                sent = text.rfind("\r\n\r\n") + 4 if "\r\n\r\n" in text else 1
                began = time.monotonic()
                client.send(text[:sent])
                for byte in text[sent:]:
                    time.sleep(0.2)
                    client.socket.settimeout(0.01)
                    try:
                        answer = client.answer()
                        break
                    except TimeoutError:
                        client.socket.settimeout(PATIENCE_S)
                        client.send(byte)
                took = time.monotonic() - began
                assert answer.status == 408 and answer.headers["connection"] == "close"
                assert 1.5 < took < 4, f"after {took:.1f} s"


@test
def silent():
    """A client that says nothing is closed: in the handshake, while idle, and not taking answers"""
    with serve(request=1, idle=2) as server:
        with Client(server) as client:
            assert 0.5 < seconds_until_closed(client) < 3
        with Client(server) as client:
            client.send(b"\x16\x03\x01\x02")
            assert 0.5 < seconds_until_closed(client) < 3
        with connect(server) as client:
            assert 1.5 < seconds_until_closed(client) < 5
        with connect(server) as client:
            assert client.get().status == 200
            assert 1.5 < seconds_until_closed(client) < 5
        with connect(server) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.send("GET /big/4000000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
            with connect(server) as other:
                wait_until(lambda: other.get("/stats").json()["connections"] == 1, "it is closed")


@test
def others():
    """Slow, silent and working clients cost others nothing"""
    with serve(threads=2) as server:
        slow_ones = [connect(server) for _ in range(20)] + [Client(server) for _ in range(20)]
        for client in slow_ones:
            client.send(b"\x16" if client.socket.__class__ is socket.socket else b"G")
        with connect(server) as worker, connect(server) as client:
            worker.send("GET /sleep/2000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            began = time.monotonic()
            for _ in range(50):
                assert client.get().status == 200
            took = time.monotonic() - began
            assert took < 1.5, f"{took:.1f} s for 50 requests"
            assert worker.answer().status == 200
        for client in slow_ones:
            client.socket.close()


@test
def half_closed():
    """A client that has sent all and says so still gets its answer"""
    with serve(plain=1) as server, Client(server) as client:
        client.send("GET /sleep/300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().json()["segments"] == ["sleep", "300"]
        assert client.is_closed()


@test
def leaves():
    """Clients that leave at any moment leave nothing behind"""
    with serve(threads=2) as server:
        with connect(server) as client:
            client.get()
            before = server.descriptors()
        moments = ("", "GET", f"POST / HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\nabc",
                   f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nab",
                   f"GET /sleep/200 HTTP/1.1\r\n{HOST}\r\n",
                   f"GET /big/4000000 HTTP/1.1\r\n{HOST}\r\n",
                   f"POST / HTTP/1.1\r\n{HOST}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        for text in moments * 3:
            for reset in (False, True):
                client = connect(server)
                client.send(text)
                time.sleep(0.02)
                if reset:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
                client.socket.close()
        with connect(server) as client:
            wait_until(lambda: client.get("/stats").json()["connections"] == 1, "all are gone")
            assert client.get().status == 200
            assert server.descriptors() <= before + 1


@test
def idle_ones():
    """1,000 idle connections cost neither time nor much memory"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with serve(threads=2) as server:
        with connect(server) as client:
            client.get()
            before = server.memory_kib()
            context = MADE.context()
            idle = [Client(server, context) for _ in range(1000)]
            used, memory = server.processor_s(), server.memory_kib() - before
            time.sleep(1)
            used = server.processor_s() - used
            assert used <= 0.1, f"{used} s of processor time in a second of idling"
            assert client.get("/stats").json()["connections"] == 1001
            print(f"# {memory} KiB for 1,000 connections")
            assert idle[0].get().status == 200 and idle[999].get().status == 200
            for each in idle:
                each.socket.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@test
def too_many():
    """Over the limit the longest idle connection goes, and never one that waits for an answer"""
    with serve(connections=5, threads=2) as server:
        busy = connect(server)
        busy.send("GET /sleep/1500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle = [connect(server) for _ in range(4)]
        for client in idle:
            assert client.get().status == 200
        idle[0].get()  # now idle[1] idles longest
        with connect(server) as client:
            assert client.get().status == 200
            assert idle[1].is_closed(), "another one was closed"
            for each in (idle[0], idle[2], idle[3]):
                assert each.get().status == 200
            assert busy.answer().status == 200
        for client in (busy, *idle):
            client.socket.close()


@test
def hoarders():
    """Connections that never get to a request are closed for those that do"""
    with serve(connections=20, request=60) as server:
        hoard = [Client(server) for _ in range(40)]
        for client in hoard[20:]:
            client.send(b"\x16")
        def works():
            try:  # nobody is closed for it while threads are at all their handshakes
                with connect(server) as client:
                    return client.get().status == 200
            except OSError:
                return False
        wait_until(works, "a client is let in")
        for client in hoard:
            client.socket.close()


@test
def full_queue():
    """A full queue is 503 with Retry-After, at once, and the connection goes on"""
    with serve(threads=1, queue=2) as server:
        workers = [connect(server) for _ in range(3)]
        with connect(server) as client:
            for count, worker in enumerate(workers):
                worker.send("GET /sleep/1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                time.sleep(0.2)
            began = time.monotonic()
            answer = client.get()
            assert answer.status == 503 and answer.headers["retry-after"] == "1", answer.status
            assert "connection" not in answer.headers and answer.json() == {"refused": 503}
            assert time.monotonic() - began < 0.5
            for worker in workers:
                assert worker.answer().status == 200
                worker.socket.close()
            assert client.get().status == 200


@test
def no_descriptors():
    """Without descriptors the server neither spins nor stops serving"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    try:
        server = serve(request=30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server, connect(server) as client:
        assert client.get().status == 200
        hoard = [Client(server) for _ in range(60)]
        time.sleep(0.5)
        used = server.processor_s()
        time.sleep(1)
        used = server.processor_s() - used
        assert used < 0.3, f"{used} s of processor time in a second"
        for each in hoard:
            each.socket.close()
        def works():
            with connect(server) as other:
                return other.get().status == 200
        wait_until(works, "it serves again")


@test
def drains():
    """SIGTERM: what was begun is answered, idle connections are closed, nobody is let in"""
    with serve(drain_ms=10000, threads=2) as server:
        idle, busy, half = connect(server), connect(server), connect(server)
        idle.get()
        busy.send("GET /sleep/1000 HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET)
        half.send("GET /half HTTP/1.1\r\n")
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        began = time.monotonic()
        assert idle.is_closed()
        assert time.monotonic() - began < 3
        try:
            Client(server).socket.close()
            assert False, "it lets clients in"
        except ConnectionRefusedError:
            pass
        answer = half.send(f"{HOST}\r\n").answer()
        assert answer.json()["segments"] == ["half"] and answer.headers["connection"] == "close"
        answer = busy.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close"
        assert busy.is_closed()
        for client in (idle, busy, half):
            client.socket.close()
        server.process.wait(PATIENCE_S)
        assert server.process.returncode == 0
        assert time.monotonic() - began < 5


@test
def drained_in_time():
    """What takes longer than drain_ms is cut off"""
    with serve(drain_ms=500, threads=1) as server:
        with connect(server) as stuck, connect(server) as queued, connect(server) as busy:
            busy.send("GET /sleep/1500 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.2)
            queued.send(GET)
            stuck.send("GET")
            time.sleep(0.2)
            took = server.end()
            assert 0.4 < took < 5, f"{took:.1f} s"
            assert stuck.is_closed() and queued.is_closed()


@test
def drained_under_load():
    """No request that was sent whole goes without an answer while the server ends"""
    def load(server, lost):
        while True:
            try:
                client = connect(server)
            except OSError:
                return
            with client:
                for _ in range(20):
                    client.send("GET /sleep/5 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    try:
                        if client.answer().headers.get("connection") == "close":
                            break
                    except (OSError, EOFError) as error:
                        lost.append(error)
                        break
    for _ in range(3):
        lost = []
        with serve(drain_ms=10000, threads=4) as server:
            threads = [threading.Thread(target=load, args=(server, lost)) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.7)
            server.end()
            for thread in threads:
                thread.join()
        assert not lost, lost


@test
def handed_over():
    """A socket that is handed over is served, and stays open for the next server"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for _ in range(2):
            with serve(fd=listener.fileno(), drain_ms=2000) as server:
                assert server.port == port
                with connect(server) as client:
                    assert client.get().status == 200
            socket.create_connection(("127.0.0.1", port), 5).close()


@test
def confined():
    """A confined process still lets clients in"""
    with serve(confined=1) as server, connect(server) as client:
        assert client.get().status == 200


@test
def bad_addresses():
    """An address that can't be used is refused, as is one that others reach without a certificate"""
    for settings, reason in (({"address": "127.0.0.1"}, "HOST:PORT"),
                             ({"address": "192.0.2.1:0"}, "can't be listened on"),
                             ({"address": "127.0.0.1:http"}, "can't be found out"),
                             ({"address": "0.0.0.0:0", "plain": 1}, "no certificate"),
                             ({"address": "[::]:0", "plain": 1}, "no certificate"),
                             ({"fd": 0}, "handed over")):
        try:
            with serve(**settings):
                assert False, f"{settings} is taken"
        except AssertionError as error:
            assert reason in str(error), error
    with serve(address="127.0.0.2:0", plain=1), serve(address="0.0.0.0:0"):
        pass


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        MADE = Certificates(folder)
        code = run(TESTS)
    sys.exit(code)
