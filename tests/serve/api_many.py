"""Many keys on the token, fast: the objects of one key pair again and again, under other names."""

import ctypes
import os
import secrets
import subprocess
import sys

import service

sys.path.append(str(service.ROOT / "tests/tokens"))
import objects  # noqa: E402

C_CREATE_OBJECT = 20
objects.FUNCTIONS.setdefault("C_CreateObject", C_CREATE_OBJECT)
PUBLIC, PRIVATE, RSA = 2, 3, 0
CLASS, TOKEN, PRIVATE_FLAG, LABEL, KEY_TYPE, ID = 0x00, 0x01, 0x02, 0x03, 0x100, 0x102
SENSITIVE, DECRYPT, MODULUS, EXPONENT, EXTRACTABLE = 0x103, 0x105, 0x120, 0x122, 0x162
NUMBERS = range(0x123, 0x129)  # d, p, q, dp, dq, qi


def template(values):
    """CK_ATTRIBUTEs, and what they point to."""
    kept = [ctypes.create_string_buffer(value, len(value)) for _, value in values]
    attributes = (objects.Attribute * len(values))(
        *(objects.Attribute(kind, ctypes.addressof(buffer), len(value))
          for (kind, value), buffer in zip(values, kept))  # fmt: skip
    )
    return attributes, kept


def ulong(value):
    return bytes(ctypes.c_ulong(value))


def create(module, session, values):
    attributes, kept = template(values)
    handle = ctypes.c_ulong()
    module("C_CreateObject", session, objects.pointer(attributes), ctypes.c_ulong(len(values)),
           objects.pointer(handle))  # fmt: skip
    del kept


def put_pair(module, session, name, numbers):
    common = [(TOKEN, b"\1"), (LABEL, name.encode()), (KEY_TYPE, ulong(RSA)), (ID, secrets.token_bytes(16)),
              (MODULUS, numbers[0]), (EXPONENT, numbers[1])]  # fmt: skip
    create(module, session, [(CLASS, ulong(PUBLIC)), *common])
    create(module, session, [
        (CLASS, ulong(PRIVATE)), *common, (PRIVATE_FLAG, b"\1"), (SENSITIVE, b"\1"),
        (EXTRACTABLE, b"\0"), (DECRYPT, b"\1"), *zip(NUMBERS, numbers[2:]),
    ])  # fmt: skip


def put_keys(name, names, versions):
    """NAME-0, NAME-1 and so on, and before them so many versions of NAME, by a process of its own."""
    command = [sys.executable, __file__, name, str(names), str(versions)]
    subprocess.run(command, check=True, timeout=service.SECONDS, env=os.environ)


def main(name, names, versions):
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048).private_numbers()
    public = private.public_numbers
    numbers = [x.to_bytes((x.bit_length() + 7) // 8, "big") for x in (
        public.n, public.e, private.d, private.p, private.q, private.dmp1, private.dmq1, private.iqmp)]  # fmt: skip
    module = objects.Module(os.environ["KW_TEST_MODULE"])
    session = objects.open_session(module)
    for _ in range(int(versions)):
        put_pair(module, session, name, numbers)
    for number in range(int(names)):
        put_pair(module, session, f"{name}-{number}", numbers)


if __name__ == "__main__":
    main(*sys.argv[1:])
