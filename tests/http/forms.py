#!/usr/bin/env python3
"""What requests may look like, and what is refused: forms.py PROGRAM. Prints TAP."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time

from lab import Certificates, Client, Server, run

PROGRAM = sys.argv[1]
PLAIN = None  # the server that all but one test ask, without TLS: it is on this machine's own address
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def ask(text):
    """The status of the answer to these bytes; the connection is closed for what is refused."""
    with Client(PLAIN) as client:
        answer = client.send(text).answer()
        if answer.status >= 400 and answer.status != 404:
            assert answer.headers["connection"] == "close", f"{text!r} leaves the connection open"
            assert answer.json() == {"refused": answer.status}
            assert client.is_closed(), f"{text!r} leaves the connection open"
        return answer.status


def refused(status, *requests):
    for text in requests:
        got = ask(text)
        assert got == status, f"{text!r} is {got}, not {status}"


HOST = "Host: localhost\r\n"


def with_fields(*lines, body="", method="POST"):
    return f"{method} / HTTP/1.1\r\n{HOST}" + "".join(f"{line}\r\n" for line in lines) + "\r\n" + body


@test
def both_lengths():
    """A length and chunks in one request are refused, as are two lengths"""
    refused(400,
            with_fields("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n"),
            with_fields("Transfer-Encoding: chunked", "Content-Length: 5", body="0\r\n\r\n"),
            with_fields("Content-Length: 5", "Content-Length: 5", body="hello"),
            with_fields("Content-Length: 5", "Content-Length: 6", body="hello"),
            with_fields("Content-Length: 5, 5", body="hello"),
            with_fields("Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
                        body="0\r\n\r\n"),
            with_fields("Transfer-Encoding: chunked", "Transfer-Encoding: identity",
                        body="0\r\n\r\n"))


@test
def lengths():
    """A length is digits and nothing else"""
    refused(400, *(with_fields(f"Content-Length:{value}", body="hello")
                   for value in ("", " ", " +5", " -5", " 0x5", " 5 5", " 5a", " 5.0", "\x0b5")))
    refused(413, *(with_fields(f"Content-Length: {value}")
                   for value in ("9" * 15, "9" * 40, "18446744073709551621", "262145")))
    assert ask(with_fields("Content-Length: 005", body="hello")) == 200


@test
def codings():
    """A transfer coding that is not understood is refused"""
    refused(501, *(with_fields(f"Transfer-Encoding: {value}", body="0\r\n\r\n")
                   for value in ("gzip", "gzip, chunked", "chunked, chunked", "xchunked",
                                 "chunked;q=1", "identity", "")))
    refused(400, *(with_fields(f"{name}: chunked", body="0\r\n\r\n")
                   for name in ("Transfer-Encoding ", " Transfer-Encoding",
                                "Transfer\x0b-Encoding", "Transfer-Encoding\t")))
    assert ask(with_fields("Transfer-Encoding: Chunked", body="0\r\n\r\n")) == 200


@test
def line_ends():
    """Line feeds and carriage returns never stand alone"""
    refused(400,
            f"GET / HTTP/1.1\n{HOST}\r\n", f"GET / HTTP/1.1\r\nHost: localhost\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n\n", "GET / HTTP/1.1\r\rHost: localhost\r\n\r\n",
            f"GET / HTTP/1.1\r\nX: a\rb\r\n{HOST}\r\n", "\n", "\r\r\n",
            f"GET / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n{HOST}\r\n")


@test
def folding():
    """A field on two lines is refused, as is one without a name or with a space in it"""
    refused(400, *(with_fields(*lines, method="GET") for lines in (
        ("X: a", " b"), ("X: a", "\tb"), (": a",), ("X y: a",), ("X : a",), ("X",), ("X\x00: a",),
        ("X: a\x00b",), ("X: a\x7f",), ("X: a\x01",), ("\x80: a",), ("(X): a",))))
    refused(400, f"GET / HTTP/1.1\r\n X: a\r\n{HOST}\r\n")
    assert ask(with_fields("X: \t a b \t", "Y:", "Z: \xe4", method="GET")) == 200


@test
def hosts():
    """There is one Host, and it is one"""
    refused(400, "GET / HTTP/1.1\r\n\r\n", f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n",
            f"GET / HTTP/1.1\r\n{HOST}Host: other\r\n\r\n",
            *(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"
              for host in ("a b", "a/b", "u@a", "a\\b", "a?b", "\xe4", "a#b", '"a"')))
    assert ask("GET / HTTP/1.1\r\nHost: [::1]:443\r\n\r\n") == 200


@test
def first_lines():
    """The first line is a method, a target and a version with one space between them"""
    refused(400, *(f"{line}\r\n{HOST}\r\n" for line in (
        "GET", "GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /\tHTTP/1.1",
        "GET / x HTTP/1.1", "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/01.1", "G@T / HTTP/1.1",
        "GET / HTTP/1", "GET / HTTPS/1.1", "GET\t/ HTTP/1.1", "\x00GET / HTTP/1.1",
        "GET /\x00 HTTP/1.1", "GET /\xe4 HTTP/1.1", "GET /a#b HTTP/1.1", "GET /?a#b HTTP/1.1")))
    refused(400, "\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    refused(505, *(f"GET / HTTP/{version}\r\n{HOST}\r\n" for version in ("2.0", "0.9", "1.2")))
    refused(405, *(f"{method} / HTTP/1.1\r\n{HOST}\r\n"
                   for method in ("OPTIONS", "TRACE", "QUERY", "get", "PRI", "PROPFIND")))
    assert ask(f"\r\nGET / HTTP/1.1\r\n{HOST}\r\n") == 200


@test
def tls_to_plain():
    """A client that speaks TLS, or HTTP/2, to a port without gets no answer in it"""
    refused(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32) + b"\n")
    with Client(PLAIN) as client:
        assert client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").answer().status in (400, 405, 505)


@test
def targets():
    """A target is a path, or https://HOST/PATH of the same host"""
    refused(400, *(f"GET {target} HTTP/1.1\r\n{HOST}\r\n" for target in (
        "*", "localhost:443", "http://other/", "https://localhost", "https://localhost:443/",
        "https://localhost@other/", "ftp://localhost/", "a/b", "?a=b", "https:///a")))
    with Client(PLAIN) as client:
        assert client.get("https://LOCALHOST/a/b").json()["segments"] == ["a", "b"]


@test
def paths():
    """Parts of a path are decoded once, and empty ones left out"""
    with Client(PLAIN) as client:
        for path, parts in (("/", []), ("//", []), ("/a//b/", ["a", "b"]), ("/a%2Fb/c", ["a/b", "c"]),
                            ("/%41%62", ["Ab"]), ("/%2541", ["%41"]), ("/a/../b", ["a", "..", "b"]),
                            ("/%e2%82%ac", ["\u20ac"]), ("/%2e%2E", [".."]), ("/a;b=c", ["a;b=c"]),
                            ("/a+b", ["a+b"]), ("/" + "/".join("abcdefghijklmnop"),
                                                list("abcdefghijklmnop"))):
            got = client.get(path).json()["segments"]
            assert got == parts, f"{path} is {got}"
    refused(400, *(f"GET {path} HTTP/1.1\r\n{HOST}\r\n" for path in (
        "/%00", "/a%00b", "/%", "/%4", "/%4g", "/%zz", "/%0a", "/%0d%0a", "/%7f", "/%ff", "/%c0%af",
        "/%ed%a0%80", "/%u0041", "/% 41", "/%+1")))
    refused(414, f"GET /{'/'.join('a' * 17)} HTTP/1.1\r\n{HOST}\r\n")


@test
def queries():
    """A query's names occur once"""
    with Client(PLAIN) as client:
        for query, pairs in (("", {}), ("a=b", {"a": "b"}), ("a", {"a": ""}), ("a=", {"a": ""}),
                             ("a=b=c", {"a": "b=c"}), ("a=b&&c=d&", {"a": "b", "c": "d"}),
                             ("%24skiptoken=a%26b%3Dc", {"$skiptoken": "a&b=c"}),
                             ("a=b+c", {"a": "b+c"}), ("a=?/", {"a": "?/"}), ("=b", {"": "b"}),
                             ("A=1&a=2", {"A": "1", "a": "2"})):
            got = client.get(f"/?{query}").json()["query"]
            assert got == pairs, f"{query} is {got}"
    refused(400, *(f"GET /?{query} HTTP/1.1\r\n{HOST}\r\n" for query in (
        "a=1&a=2", "a=1&%61=2", "a=%00", "%00=a", "a=%", "a=%ff", "a=%0a")))
    refused(414, f"GET /?{'&'.join(f'a{i}=1' for i in range(17))} HTTP/1.1\r\n{HOST}\r\n")


@test
def chunks():
    """Bodies in chunks are put together, whatever pieces they come in"""
    body = "5\r\nhello\r\n1\r\n,\r\n00A\r\n0123456789\r\n0\r\n\r\n"
    head = with_fields("Transfer-Encoding: chunked")
    with Client(PLAIN) as client:
        assert client.send(head + body).answer().json()["body"] == "hello,0123456789"
        client.send(head)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in body:
            client.send(byte)
        assert client.answer().json()["body"] == "hello,0123456789"
    refused(400, *(head + body for body in (
        "\r\n", "g\r\n", "5\nhello\r\n", "5\r\nhello!\r\n", "5\r\nhello\n0\r\n\r\n", "-1\r\n", " 5\r\n",
        "5 \r\nhello\r\n", "5;a=b\r\nhello\r\n", "5\r\nhello\r\n0\r\nX: a\r\n\r\n", "0x5\r\nhello",
        "000000005\r\nhello", "0\r\n\n", "5\r\r\nhello", "+5\r\nhello\r\n")))
    refused(413, head + "FFFFFFFF\r\n", head + "40001\r\n",
            head + "1000\r\n" + "a" * 4096 + "\r\n3F001\r\n")
    assert ask(f"POST / HTTP/1.0\r\n{HOST}\r\n") == 200
    refused(400, f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


@test
def fields_once():
    """What decides over a request is there once"""
    refused(400, with_fields("Authorization: a", "Authorization: b", method="GET"),
            with_fields("authorization: a", "AUTHORIZATION: a", method="GET"))
    with Client(PLAIN) as client:
        got = client.get(headers="aUTHORIZATION:  Bearer x \r\nX-MS-Client-Request-Id: ab-12\r\n").json()
        assert got["authorization"] == "Bearer x" and got["id"] == "ab-12", got
        for bad in ("", "a b", "a" * 65, "a_b", "\xe4", "<x>"):
            got = client.get(headers=f"x-ms-client-request-id: {bad}\r\n").json()
            assert got["id"] is None, f"{bad} is taken"


@test
def sizes():
    """Heads, lines, fields and bodies have their limits"""
    with Client(PLAIN) as client:
        long = "a" * 15000
        assert client.get(f"/{long}").json()["segments"] == [long]
        assert client.get(headers="X: a\r\n" * 99).status == 200
        got = client.get(method="POST", body="a" * 262144, headers="Authorization: x\r\n").json()
        assert got["body_len"] == 262144
    refused(414, f"GET /{'a' * 16384} HTTP/1.1\r\n{HOST}\r\n", "G" * 16384)
    refused(431, f"GET / HTTP/1.1\r\n{HOST}X: {'a' * 16384}\r\n\r\n",
            f"GET / HTTP/1.1\r\n{HOST}" + "X: a\r\n" * 100 + "\r\n",
            f"GET / HTTP/1.1\r\n{HOST}X: {'a' * 17000}")
    refused(413, with_fields("Authorization: x\r\nContent-Length: 262145", body="a" * 262145))


@test
def pipelined():
    """Requests that come at once are answered one by one, in order"""
    with Client(PLAIN) as client:
        client.send("".join(f"GET /{i} HTTP/1.1\r\n{HOST}\r\n" for i in range(200)))
        for i in range(200):
            assert client.answer().json()["segments"] == [str(i)]
        client.send(with_fields("Content-Length: 5", body="hello") +
                    with_fields("Transfer-Encoding: chunked", body="2\r\nyo\r\n0\r\n\r\n") +
                    with_fields("Connection: close", method="GET") + "GET /more HTTP/1.1\r\n")
        assert client.answer().json()["body"] == "hello"
        assert client.answer().json()["body"] == "yo"
        last = client.answer()
        assert last.json()["body"] == "" and last.headers["connection"] == "close"
        assert client.is_closed()


@test
def pieces():
    """Requests in pieces of any size are the same as in one"""
    text = (f"GET /{'a' * 200} HTTP/1.1\r\n{HOST}\r\n" + f"GET /b HTTP/1.1\r\n{HOST}\r\n" +
            with_fields("Content-Length: 5", body="hello") + f"GET /c HTTP/1.1\r\n{HOST}\r\n")
    for size in (1, 2, 3, 50, 230, 260):
        with Client(PLAIN) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(text), size):
                client.send(text[at:at + size])
                if size > 3:
                    time.sleep(0.01)
            got = [client.answer().json() for _ in range(4)]
            assert [each["segments"] for each in got] == [["a" * 200], ["b"], [], ["c"]], got
            assert got[2]["body"] == "hello"


@test
def smuggled():
    """What follows a refused request is no request"""
    with Client(PLAIN) as client:
        client.send(with_fields("Content-Length: 4", "Transfer-Encoding: chunked",
                                body=f"0\r\n\r\nGET /admin HTTP/1.1\r\n{HOST}\r\n"))
        assert client.answer().status == 400 and client.is_closed()


@test
def old_version():
    """HTTP/1.0 is answered and closed, and needs no Host"""
    with Client(PLAIN) as client:
        answer = client.send("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
        assert answer.json()["segments"] == ["old"] and client.is_closed()


@test
def heads():
    """HEAD is answered as GET would be, without the body"""
    with Client(PLAIN) as client:
        length = client.get("/big/5000").headers["content-length"]
        assert client.get("/big/5000", "HEAD").headers["content-length"] == length == "5000"
        assert client.get("/secret", "HEAD").headers["content-length"] == "11"
        assert client.get("/secret").body == b"very secret"
        assert client.get("/status/204").headers.get("content-length") is None


@test
def continues():
    """100 Continue is sent to who waits for it, once the head is good"""
    with Client(PLAIN) as client:
        client.send(with_fields("Content-Length: 5", "Expect: 100-continue"))
        assert client.interim() == ["HTTP/1.1 100 Continue"]
        assert client.send("hello").answer().json()["body"] == "hello"
        client.send(with_fields("Transfer-Encoding: chunked", "Expect: 100-Continue"))
        assert client.interim() == ["HTTP/1.1 100 Continue"]
        assert client.send("1\r\na\r\n0\r\n\r\n").answer().json()["body"] == "a"
        client.send(with_fields("Content-Length: 5", "Expect: 100-continue", body="hello"))
        assert client.answer().json()["body"] == "hello"
        assert client.get(headers="Expect: 100-continue\r\n").status == 200
    refused(413, with_fields("Content-Length: 300000", "Expect: 100-continue"))
    refused(417, with_fields("Content-Length: 5", "Expect: something"))


@test
def answers():
    """Every answer says what it must, and no more"""
    with Client(PLAIN) as client:
        got = client.get("/echo")
        assert set(got.headers) == {"cache-control", "x-content-type-options", "date",
                                    "content-type", "content-length"}, got.headers
        assert got.headers["cache-control"] == "no-cache"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert client.get("/big/4194304").body == b"x" * 4194304
        assert client.get("/header/fine").headers["x-test"] == "fine"
        assert client.get(f"/header/{'a' * 600}").status == 500


@test
def other_clients():
    """curl and Python's http.client get along with it over TLS"""
    with tempfile.TemporaryDirectory() as folder:
        made = Certificates(folder)
        with Server(PROGRAM, **made.of_server()) as server:
            url = f"https://localhost:{server.port}/keys/k?api-version=7.4"
            curl = ["curl", "-sS", "--cacert", made.path("ca.pem"), "--max-time", "20"]
            for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"],
                          ["--http1.0"], ["--http2"]):
                done = subprocess.run([*curl, *extra, "-d", "x" * 2000, url, url], check=True,
                                      capture_output=True, timeout=30)
                assert done.stdout.count(b'"body_len":2000') == 2, (extra, done.stdout)
            link = http.client.HTTPSConnection("localhost", server.port,
                                               context=made.context(), timeout=20)
            for i in range(20):
                link.request("POST", "/a%20b", body=iter([b"ab", b"cd"]) if i % 2 else b"abcd",
                             encode_chunked=i % 2 == 1)
                got = json.loads(link.getresponse().read())
                assert got["body"] == "abcd" and got["segments"] == ["a b"], got
            link.close()


if __name__ == "__main__":
    with Server(PROGRAM, plain=1, silent=0) as PLAIN:
        code = run(TESTS)
    sys.exit(code)
