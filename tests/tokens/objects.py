#!/usr/bin/env python3
"""What is on the token, read through Cryptoki without any code of Keyward.

read() gives a list of objects, private and public; run as a program it prints them as JSON. It is a
process of its own each time: a module that lost its token, or crashes, takes no test with it. The
token is the one that a tests/tokens/with-* script describes in the environment."""

import ctypes
import json
import os
import pathlib
import subprocess
import sys

SECONDS = 60
LABEL = "keyward"
LONGEST = 4096  # bytes of an attribute

CKF_RW_SESSION, CKF_SERIAL_SESSION, CKF_OS_LOCKING_OK = 2, 4, 2
CKR_USER_ALREADY_LOGGED_IN = 0x100
CLASSES = {0: "data", 1: "certificate", 2: "public", 3: "private", 4: "secret"}
LABEL_TYPE, CLASS_TYPE = 0x03, 0x00

# Places in CK_FUNCTION_LIST, counted from C_Initialize.
FUNCTIONS = {
    "C_Initialize": 0, "C_GetSlotList": 4, "C_GetTokenInfo": 6, "C_OpenSession": 12, "C_Login": 18,
    "C_GetAttributeValue": 24, "C_FindObjectsInit": 26, "C_FindObjects": 27,
}  # fmt: skip


def text(value):
    return value.decode(errors="replace")


def boolean(value):
    return value != b"\0"


def date(value):
    """"" is none; some tokens write none as zeros or blanks."""
    digits = text(value)
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits.strip("0 \0") else ""


ATTRIBUTES = {
    "label": (LABEL_TYPE, text), "id": (0x102, bytes.hex), "modulus": (0x120, bytes.hex),
    "token": (0x01, boolean), "private": (0x02, boolean), "sensitive": (0x103, boolean),
    "encrypt": (0x104, boolean), "decrypt": (0x105, boolean), "wrap": (0x106, boolean),
    "unwrap": (0x107, boolean), "sign": (0x108, boolean), "verify": (0x10A, boolean),
    "start": (0x110, date), "end": (0x111, date), "extractable": (0x162, boolean),
}  # fmt: skip


class Attribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong)]


class InitializeArgs(ctypes.Structure):
    _fields_ = [("functions", ctypes.c_void_p * 4), ("flags", ctypes.c_ulong),
                ("reserved", ctypes.c_char_p)]  # fmt: skip


class Module:
    def __init__(self, path):
        library, self.list = ctypes.CDLL(path), ctypes.c_void_p()
        if library.C_GetFunctionList(ctypes.byref(self.list)):
            raise RuntimeError("C_GetFunctionList failed")

    def __call__(self, name, *arguments, also=()):
        # A CK_VERSION and its padding come first.
        at = self.list.value + ctypes.sizeof(ctypes.c_void_p) * (1 + FUNCTIONS[name])
        function = ctypes.CFUNCTYPE(ctypes.c_ulong, *map(type, arguments))(
            ctypes.c_void_p.from_address(at).value
        )
        rv = function(*arguments)
        if rv != 0 and rv not in also:
            raise RuntimeError(f"{name} answered {rv:#x}")
        return rv


def pointer(thing):
    return ctypes.cast(ctypes.pointer(thing), ctypes.c_void_p)


def find_slot(module):
    count = ctypes.c_ulong(64)
    slots = (ctypes.c_ulong * count.value)()
    module("C_GetSlotList", ctypes.c_ubyte(1), pointer(slots), pointer(count))
    for slot in slots[: count.value]:
        info = (ctypes.c_ubyte * 512)()
        module("C_GetTokenInfo", ctypes.c_ulong(slot), pointer(info))
        if text(bytes(info[:32])).rstrip() == LABEL:
            return slot
    raise RuntimeError(f"there is no token {LABEL}")


def open_session(module):
    pin = pathlib.Path(os.environ["KW_TEST_PIN_FILE"]).read_bytes().strip()
    arguments = InitializeArgs(flags=CKF_OS_LOCKING_OK)
    if database := os.environ.get("KW_TEST_NSS_DB"):
        arguments.reserved = pathlib.Path(database, "../init-args").read_bytes().strip()
    module("C_Initialize", pointer(arguments))
    session = ctypes.c_ulong()
    module(
        "C_OpenSession", ctypes.c_ulong(find_slot(module)),
        ctypes.c_ulong(CKF_SERIAL_SESSION | CKF_RW_SESSION), ctypes.c_void_p(), ctypes.c_void_p(),
        pointer(session),
    )  # fmt: skip
    module(
        "C_Login", session, ctypes.c_ulong(1), pointer(ctypes.create_string_buffer(pin)),
        ctypes.c_ulong(len(pin)), also=(CKR_USER_ALREADY_LOGGED_IN,),
    )  # fmt: skip
    return session


def find_objects(module, session):
    found, count = (ctypes.c_ulong * 4096)(), ctypes.c_ulong()
    module("C_FindObjectsInit", session, ctypes.c_void_p(), ctypes.c_ulong(0))
    module("C_FindObjects", session, pointer(found), ctypes.c_ulong(4096), pointer(count))
    return [ctypes.c_ulong(handle) for handle in found[: count.value]]


def read_attribute(module, session, handle, kind):
    """None where the token does not tell. Some want a buffer of just the right length."""
    attribute = Attribute(kind, None, 0)
    try:
        module("C_GetAttributeValue", session, handle, pointer(attribute), ctypes.c_ulong(1))
        if attribute.length > LONGEST:
            return None
        buffer = (ctypes.c_ubyte * attribute.length)()
        attribute.value = ctypes.addressof(buffer)
        module("C_GetAttributeValue", session, handle, pointer(attribute), ctypes.c_ulong(1))
    except RuntimeError:
        return None
    return bytes(buffer[: attribute.length])


def read_object(module, session, handle):
    kind = read_attribute(module, session, handle, CLASS_TYPE)
    thing = {"class": CLASSES.get(int.from_bytes(kind or b"\xff", sys.byteorder), "other")}
    for name, (attribute, decode) in ATTRIBUTES.items():
        value = read_attribute(module, session, handle, attribute)
        thing[name] = None if value is None else decode(value)
    return thing


def read():
    """All objects. RuntimeError where they can't be read."""
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{__file__} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def main():
    module = Module(os.environ["KW_TEST_MODULE"])
    session = open_session(module)
    print(json.dumps([read_object(module, session, x) for x in find_objects(module, session)]))
    sys.stdout.flush()
    os._exit(0)  # some modules crash when they are unloaded


if __name__ == "__main__":
    main()
