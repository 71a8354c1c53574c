#!/usr/bin/env python3
"""Wraps a new data key with a key of `keyward serve` and unwraps it, by Azure's own client.

    pip install azure-keyvault-keys
    client.py https://myvault.hsm.example KEY --ca ca.pem --token FILE

FILE has a bearer token; with azure-identity a credential of that package stands in its place.
"""

import argparse
import pathlib
import secrets
import sys
import time

from azure.core.credentials import AccessToken
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm


class TokenOfFile:
    """A credential: any object with this method is one."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.path.read_text().strip(), int(time.time()) + 600)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("--ca", required=True, help="PEM file of who vouches for the service")
    parser.add_argument("--token", required=True)
    parser.add_argument("--any-host", action="store_true",
                        help="send the token also where the host is not below the resource")  # fmt: skip
    given = parser.parse_args()
    credential = TokenOfFile(given.token)
    options = {"connection_verify": given.ca, "verify_challenge_resource": not given.any_host}

    key = KeyClient(given.url, credential, **options).get_key(given.key)
    print("key:      ", key.id)
    client = CryptographyClient(key, credential, **options)
    data_key = secrets.token_bytes(32)
    wrapped = client.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, data_key)
    print("wrapped:  ", len(data_key), "bytes to", len(wrapped.encrypted_key))
    unwrapped = client.unwrap_key(wrapped.algorithm, wrapped.encrypted_key)
    same = unwrapped.key == data_key
    print("unwrapped:", "the same data key" if same else "ANOTHER data key")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
