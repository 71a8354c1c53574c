"""What a group of rows gets: programs, a folder on the filesystem that is measured, and a token."""
import pathlib
from dataclasses import dataclass

from drops import Drop, Token, digest
from measure import fail

AUDIT_OFF = "[audit]\nenabled = no\n"


@dataclass
class Lab:
    keyward: pathlib.Path
    peers: pathlib.Path
    scratch: pathlib.Path
    tokens: pathlib.Path  # a folder on tmpfs
    tmpfs: bool  # whether scratch is on it
    scale: float
    token: Token
    token_kind: str  # "SoftHSM2"

    def folder(self, name):
        path = self.scratch / name
        path.mkdir()
        return path

    def drop(self, name):
        return Drop(self.folder(name), self.token)

    def scaled(self, full, least=1):
        return max(least, int(full * self.scale))

    def config(self, name, text):
        path = self.scratch / f"{name}.conf"
        path.write_text(text)
        return path

    def decrypt(self, drop, *options, config=None):
        """Makes a `keyward decrypt` command into the folder o of the output folder."""
        program = [self.keyward] + (["--config", config] if config else [])

        def make(out):
            return [*program, "decrypt", drop.folder, "--out", out / "o", "--token",
                    self.token.uri, "--quiet", *options]
        return make


def quote(command):
    return " ".join("'" + str(word) + "'" for word in command)


def on(condition, goal):
    """A goal that holds on one kind of filesystem."""
    return goal if condition else None


def enough_files(count):
    """A check that so many files are there."""
    def check(out):
        if len(list((out / "o").iterdir())) != count:
            fail("files are missing")
    return check


def right_files(count, expected, name="part-00000.json"):
    """... and that one of them has the right bytes."""
    def check(out):
        enough_files(count)(out)
        if digest(out / "o" / name) != expected:
            fail("the plaintext is wrong")
    return check
