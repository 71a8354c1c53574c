# Keys in transfer files: out of one token and into it again, and opened by openssl alone.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

on_token() { keyward "$@" --token "$KW_TEST_TOKEN"; }
name() { python3 -c 'import uuid; print(uuid.uuid4())'; }
modulus_of() { on_token key show "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["keys"][0]["modulus"])'; }

kid=https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef

# unwrap FILE KEK OUT: with openssl alone, the PKCS#8 as it was wrapped.
unwrap() {
    python3 -c '
import base64, json, subprocess, sys
file = json.load(open(sys.argv[1]))
assert file["schema_version"] == "1.0.0" and file["header"]["alg"] == "dir"
assert file["header"]["enc"] == "CKM_RSA_AES_KEY_WRAP" and "=" not in file["ciphertext"]
text = file["ciphertext"]
data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
aes = subprocess.run(["openssl", "pkeyutl", "-decrypt", "-inkey", sys.argv[2], "-pkeyopt",
                      "rsa_padding_mode:oaep"], input=data[:256], stdout=subprocess.PIPE, check=True).stdout
assert len(aes) == 32
plain = subprocess.run(["openssl", "enc", "-d", "-id-aes256-wrap-pad", "-K", aes.hex(), "-iv",
                        "a65959a6"], input=data[256:], stdout=subprocess.PIPE, check=True).stdout
open(sys.argv[3], "wb").write(plain)
' "$@"
}

# der_rest FILE: how many bytes are after the end of its SEQUENCE. Strict parsers read what has none:
# Python's cryptography or Node, where they are there.
der_rest() {
    python3 -c '
import sys
data = open(sys.argv[1], "rb").read()
assert data[0] == 0x30 and data[1] == 0x82
rest = len(data) - 4 - int.from_bytes(data[2:4], "big")
if rest == 0:
    try:
        from cryptography.hazmat.primitives.serialization import load_der_private_key
    except ImportError:
        pass
    else:
        load_der_private_key(data, None)
print(rest)
' "$1"
}

@test "a key goes out for a KEK in PEM, and openssl alone finds it in the file" {
    key=$(name)
    expect 0 on_token key create "$key" --no-expiry --exportable
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out kek.pem 2>/dev/null
    openssl pkey -in kek.pem -pubout -out kek.pub
    expect 0 on_token byok export "$key" --kek kek.pub --kid "$kid" --out key.byok
    if grep -q 'zero bytes' <<<"$output"; then
        warns 'zero bytes'
    fi
    unwrap key.byok kek.pem key.der
    openssl pkey -inform DER -in key.der -noout -text_pub >text
    found=$(grep -A 20 Modulus text | tr -d ' :\n' | sed 's/^Modulus00//; s/Exponent.*//')
    [ "$found" = "$(modulus_of "$key")" ]
    expect 0 keyward byok inspect key.byok
    grep -q "$kid" <<<"$output"
    # Not over a file that is there.
    expect 8 on_token byok export "$key" --kek kek.pub --kid "$kid" --out key.byok
}

@test "nothing is after the key in the file, whatever its length, or that is said" {
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out kek.pem 2>/dev/null
    openssl pkey -in kek.pem -pubout -out kek.pub
    for bits in 2048 2048 2048 2048 2048 2048 3072 4096; do
        key=$(name)
        if ! on_token key create "$key" --bits $bits --no-expiry --exportable 2>err; then
            [ $bits -ne 2048 ]
            continue
        fi
        run --separate-stderr on_token byok export "$key" --kek kek.pub --kid "$kid" --out "$key"
        [ "$status" -eq 0 ] || [ "$status" -eq 5 ]
        [ "$status" -eq 0 ] || skip "this token wraps no private key"
        unwrap "$key" kek.pem key.der
        rest=$(der_rest key.der)
        if grep -q 'with up to 7 zero bytes' <<<"$output"; then
            warns 'a strict reader may refuse the file'
        else
            [ "$rest" -eq 0 ]
            if command -v node >/dev/null; then
                node -e 'require("crypto").createPrivateKey({key: require("fs").readFileSync("key.der"),
                    format: "der", type: "pkcs8"})'
            fi
        fi
        stat -c %s key.der >>lengths
        if [ "$KW_TEST_TOKEN_KIND" = softhsm ]; then
            [ "$rest" -eq 0 ]
            grep -q 'zero bytes taken off' <<<"$output"
            warns 'in clear in locked memory'
        fi
    done
    # Some of them are not multiples of 8, or this proves nothing.
    awk '$1 % 8 { odd = 1 } END { exit !odd }' lengths || [ "$KW_TEST_TOKEN_KIND" != softhsm ]
}

@test "a key comes in from a file that was made for a KEK on the token, and decrypts" {
    key=$(name) kek=$(name) copy=$(name)
    expect 0 on_token key create "$key" --no-expiry --exportable
    expect 0 on_token key create "$kek" --no-expiry
    expect 0 on_token byok export "$key" --kek "pkcs11:object=$kek" --kid "$kid" --out key.byok
    expect 0 on_token byok import key.byok --kek "$kek" --name "$copy" --expires 2031-12-31
    [ "$(modulus_of "$copy")" = "$(modulus_of "$key")" ]
    on_token seal "$E2E/src" --out drop --key "$key"
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN" --key "$copy"
    diff -r "$E2E/src" out
    # The copy is not exportable, as that was not asked for.
    expect 5 on_token byok export "$copy" --kek "pkcs11:object=$kek" --kid "$kid" --out again.byok
    [ ! -e again.byok ]
    expect 8 on_token byok import key.byok --kek "$kek" --name "$copy" --no-expiry
}

@test "what can't go out or come in leaves nothing" {
    key=$(name) kek=$(name) other=$(name)
    on_token key create "$key" --no-expiry --exportable
    on_token key create "$kek" --no-expiry
    on_token key create "$other" --no-expiry
    before=$(on_token key list)
    expect 5 on_token byok export e2e --kek "pkcs11:object=$kek" --kid "$kid" --out x.byok
    expect 2 on_token byok export "$key" --kek "pkcs11:object=$kek" --kid http://nonsense --out x.byok
    expect 2 on_token byok export "$key" --kek "pkcs11:object=$kek" --out x.byok
    expect 2 on_token byok export "$key" --kek "pkcs11:object=$kek" --kid "$kid" --out ./
    says 'no name of a file'
    long=https://v.vault.azure.net/keys/kek/$(printf 'a%.0s' {1..1024})
    expect 2 on_token byok export "$key" --kek "pkcs11:object=$kek" --kid "$long" --out x.byok
    expect 3 on_token byok export "$key" --kek "$BATS_TEST_FILENAME" --kid "$kid" --out x.byok
    [ ! -e x.byok ]
    on_token byok export "$key" --kek "pkcs11:object=$kek" --kid "$kid" --out key.byok
    expect 5 on_token byok import key.byok --kek "$other" --name copy --no-expiry
    expect 2 on_token byok import key.byok --kek "$kek" --name copy
    sed 's/1\.0\.0/2.0.0/' key.byok >bad.byok
    expect 4 on_token byok import bad.byok --kek "$kek" --name copy --no-expiry
    python3 -c '
import json
file = json.load(open("key.byok"))
text = file["ciphertext"]
file["ciphertext"] = text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]
json.dump(file, open("bad.byok", "w"))
'
    expect 5 on_token byok import bad.byok --kek "$kek" --name copy --no-expiry
    [ "$(on_token key list)" = "$before" ]
}
