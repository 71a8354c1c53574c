#!/usr/bin/env python3
"""Bodies, and who may have how much memory for them: bodies.py PROGRAM. Prints TAP."""

import sys
import tempfile

from lab import Certificates, Client, Server, run, wait_until

PROGRAM = sys.argv[1]
MADE = None
TESTS = []
SMALL, LARGE = 16 << 10, 1 << 20  # what anybody may send, and those that say who they are
TOGETHER = 64                     # so many large ones a listener takes at a time
TOKEN = "Authorization: Bearer x\r\n"


def test(function):
    TESTS.append(function)
    return function


def serve(**settings):
    return Server(PROGRAM, plain=1, body=LARGE, **settings)


def head(length, headers=TOKEN, path="/"):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
            f"Content-Length: {length}\r\n\r\n")


def begin(server, length=LARGE, headers=TOKEN, **options):
    """A request whose last byte does not come."""
    client = Client(server, **options)
    return client.send(head(length, headers) + "a" * (length - 1))


def is_answered(client, length=LARGE):
    return client.answer().json()["body_len"] == length


@test
def anonymous():
    """Who does not say who it is sends little: 413, before it is read"""
    with serve(request=60) as server:
        with Client(server) as client:
            client.send(head(SMALL, "") + "a" * SMALL)
            assert is_answered(client, SMALL)
            assert client.send(head(SMALL + 1, "")).answer().status == 413
            assert client.is_closed()
        with Client(server) as client:
            answer = client.send(head(LARGE, "Expect: 100-continue\r\n")).answer()
            assert answer.status == 413, "it is asked to go on"
        with Client(server) as client:
            client.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(4):
                client.send("1000\r\n" + "a" * 4096 + "\r\n")
            assert client.send("1\r\n").answer().status == 413
        with Client(server) as client:
            client.send(head(LARGE) + "a" * LARGE)
            assert is_answered(client)
            assert client.send(head(SMALL + 1, "")).answer().status == 413, \
                "what another request said counts"


@test
def certificate():
    """A certificate says who it is, one that is only asked for and not there does not"""
    with Server(PROGRAM, **MADE.of_server(), body=LARGE, client="optional",
                client_ca=MADE.path("ca.pem")) as server:
        with Client(server, MADE.context("client")) as client:
            client.send(head(LARGE, "") + "a" * LARGE)
            assert is_answered(client)
        with Client(server, MADE.context()) as client:
            assert client.send(head(SMALL + 1, "")).answer().status == 413


@test
def hoarders():
    """Whoever comes is served, however many bodies others have begun: the oldest make room"""
    with serve(request=60) as server:
        hoard = [begin(server) for _ in range(TOGETHER + 6)]
        for _ in range(20):
            with Client(server) as client:
                client.send(head(LARGE) + "a" * LARGE)
                assert is_answered(client)
        gone = [client.is_closed() for client in hoard[:7]]
        assert gone == [True] * 7, gone
        for client in hoard[-10:]:  # that many there was room for all the time
            assert is_answered(client.send("a"))
        for client in hoard:
            client.socket.close()


@test
def small_hoarders():
    """The same by the smallest of steps: it is what has come that counts, not what is to come"""
    with serve(request=60) as server:
        hoard = [Client(server).send(head(LARGE) + "a") for _ in range(TOGETHER * 3)]
        whole = [begin(server) for _ in range(TOGETHER // 2)]
        assert all(is_answered(client.send("a")) for client in whole)
        assert is_answered(hoard[0].send("a" * (LARGE - 1))), "it was closed without need"
        for client in hoard + whole:
            client.socket.close()


@test
def whole_ones():
    """Bodies that are whole are never dropped for others: these get 503, but on no other listener"""
    with serve(request=60, threads=1, second=1) as server:
        busy = Client(server).send("GET /sleep/4000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: state(server)["busy"] == 1, "the thread is busy")
        queued = [Client(server).send(head(LARGE) + "a" * LARGE) for _ in range(TOGETHER)]
        wait_until(lambda: state(server)["queued"] == TOGETHER, "they wait")
        with Client(server) as client:
            client.send(head(LARGE) + "a" * 100)
            assert client.answer().status == 503
        with Client(server, port=server.more_ports[0]) as client:
            client.send(head(LARGE) + "a" * LARGE)
            assert is_answered(client), "another listener has no room"
        assert busy.answer().status == 200
        assert all(is_answered(client) for client in queued)
        with Client(server) as client:
            client.send(head(LARGE) + "a" * LARGE)
            assert is_answered(client), "what is done is counted still"
        for client in (busy, *queued):
            client.socket.close()


def state(server):
    """Of the first listener, by the second."""
    with Client(server, port=server.more_ports[0]) as client:
        return client.get("/stats").json()


@test
def refused_ones():
    """What is refused, given up or too slow is not counted any more"""
    with serve(request=2) as server:
        for _ in range(2):
            slow = [begin(server) for _ in range(TOGETHER - 2)]
            assert all(client.answer().status == 408 for client in slow)
            for client in slow:
                client.socket.close()
        for _ in range(TOGETHER * 2):
            begin(server).socket.close()
        first = begin(server)
        hoard = [begin(server) for _ in range(TOGETHER - 10)]
        assert is_answered(first.send("a")), "there was no room for it"
        for client in (first, *hoard):
            client.socket.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        MADE = Certificates(folder)
        MADE.issue("client", "ca", "/CN=client", "extendedKeyUsage=clientAuth")
        code = run(TESTS)
    sys.exit(code)
