# Private keys from files, made by openssl alone, put on the token.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

on_token() { keyward "$@" --token "$KW_TEST_TOKEN"; }
import() { on_token key import "$@"; }
name() { python3 -c 'import uuid; print(uuid.uuid4())'; }
modulus_of() { on_token key show "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["keys"][0]["modulus"])'; }
hex_modulus() { openssl rsa -in "$1" -noout -modulus | sed 's/Modulus=//' | tr 'A-F' 'a-f'; }
objects() { on_token key list; }

# The same key in every form that openssl writes.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    printf 'open sesame\n' >pass
    printf 'close sesame\n' >wrong
    chmod 600 pass wrong
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out pkcs8.pem 2>/dev/null
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out other.pem 2>/dev/null
    openssl pkcs8 -topk8 -nocrypt -in pkcs8.pem -outform DER -out pkcs8.der
    openssl pkey -in pkcs8.pem -pubout -out public.pem
    openssl rsa -in pkcs8.pem -traditional -out pkcs1.pem 2>/dev/null
    openssl rsa -in pkcs8.pem -traditional -outform DER -out pkcs1.der 2>/dev/null
    openssl rsa -in pkcs8.pem -traditional -aes256 -passout file:pass -out pkcs1-aes.pem 2>/dev/null
    openssl rsa -in pkcs8.pem -traditional -des3 -passout file:pass -out pkcs1-des3.pem 2>/dev/null
    openssl pkcs8 -topk8 -in pkcs8.pem -v2 aes-256-cbc -passout file:pass -out pkcs8-aes.pem
    openssl pkcs8 -topk8 -in pkcs8.pem -scrypt -passout file:pass -out pkcs8-scrypt.pem
    openssl pkcs8 -topk8 -in pkcs8.pem -outform DER -passout file:pass -out pkcs8-aes.der
    openssl req -new -x509 -key pkcs8.pem -subj /CN=k -days 30 -out cert.pem
    openssl pkcs12 -export -inkey pkcs8.pem -in cert.pem -passout file:pass -out key.p12
    openssl pkcs12 -export -inkey pkcs8.pem -nocerts -passout pass: -out empty.p12
    openssl pkcs12 -export -legacy -inkey pkcs8.pem -in cert.pem -passout file:pass -out legacy.p12
    openssl pkcs12 -export -keypbe NONE -certpbe NONE -inkey pkcs8.pem -in cert.pem -passout file:pass \
        -out plain.p12
    openssl pkcs12 -in key.p12 -passin file:pass -nodes -out bags.pem
}

files() { cp "$BATS_FILE_TMPDIR"/* .; }

@test "each form of a key comes in, with a warning that software made it" {
    files
    modulus=$(hex_modulus pkcs8.pem)
    for file in pkcs8.pem pkcs8.der pkcs1.pem pkcs1.der empty.p12; do
        key=$(name)
        expect 0 import "$file" --name "$key" --no-expiry </dev/null
        warns 'made by software'
        [ "$(modulus_of "$key")" = "$modulus" ]
    done
    for file in pkcs1-aes.pem pkcs1-des3.pem pkcs8-aes.pem pkcs8-scrypt.pem pkcs8-aes.der key.p12; do
        key=$(name)
        expect 0 import "$file" --name "$key" --no-expiry --passphrase-source "file:$PWD/pass"
        [ "$(modulus_of "$key")" = "$modulus" ]
    done
    # Text of openssl's around the key, and a certificate after it.
    cat bags.pem cert.pem >both.pem
    expect 0 import both.pem --name "$(name)" --no-expiry
}

@test "what is asked for of the key is so: id, dates, exportable, and both halves work" {
    files
    id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n') key=$(name)
    expect 0 import pkcs8.pem --name "$key" --id "$id" --expires 2031-12-31 --not-before 2026-01-01 --json
    python3 -c '
import json, sys
key, = json.load(sys.stdin)["keys"]
assert key["label"] == sys.argv[1] and key["id"] == sys.argv[2]
assert key["sensitive"] and not key["extractable"] and key["decrypt"] and key["unwrap"]
assert (key["not_before"], key["expires"]) == ("2026-01-01", "2031-12-31")
' "$key" "$id" <<<"$output"
    # What openssl sealed to its public half alone.
    keyward seal "$E2E/src" --out drop --public-key public.pem --key-version "$id"
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    diff -r "$E2E/src" out
    expect 5 on_token byok export "$key" --kek public.pem --out x.byok \
        --kid https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef
    says 'not extractable'
    # The name and the id are taken.
    expect 8 import other.pem --name "$key" --no-expiry
    expect 8 import other.pem --name "$(name)" --id "$id" --no-expiry
    expect 0 import other.pem --name "$(name)" --no-expiry --exportable --json
    grep -q '"extractable":.*true' <<<"$output"
}

@test "a passphrase that is wrong, missing, or not needed" {
    files
    before=$(objects)
    for file in pkcs1-aes.pem pkcs8-aes.pem pkcs8-scrypt.pem pkcs8-aes.der key.p12; do
        expect 3 import "$file" --name x --no-expiry --passphrase-source "file:$PWD/wrong"
        says 'passphrase does not open'
        refute grep -q 'sesame' <<<"$stderr"
        expect 3 import "$file" --name x --no-expiry --passphrase-source "file:$PWD/nonesuch"
        says '--passphrase-source'
        expect 3 setsid "$KW_PROGRAM" key import "$file" --name x --no-expiry --token "$KW_TEST_TOKEN"
        says 'no passphrase was given'
    done
    run tool prompt $'\x03' "$KW_PROGRAM" key import key.p12 --name x --no-expiry \
        --token "$KW_TEST_TOKEN"
    [ "$status" -eq 130 ]
    grep -q 'keyward: .*passphrase' <<<"$output"
    expect 3 import key.p12 --name x --no-expiry --passphrase-source telepathy
    [ "$(objects)" = "$before" ]
    # A source that is not needed is not looked at.
    expect 0 import pkcs8.pem --name "$(name)" --no-expiry --passphrase-source "file:$PWD/nonesuch"
    KW_PASS='open sesame' expect 0 import key.p12 --name "$(name)" --no-expiry --passphrase-source env:KW_PASS
    warns 'environment variable'
    expect 0 import key.p12 --name "$(name)" --no-expiry --passphrase-source fd:9 9<pass
}

# refused CODE PATTERN FILE: and says why.
refused() {
    expect "$1" import "$3" --name x --no-expiry --passphrase-source "file:$PWD/pass"
    says "$2"
}

@test "files that hold no such key are refused, and nothing is left on the token" {
    files
    before=$(objects)
    openssl ecparam -name prime256v1 -genkey -noout -out ec-traditional.pem
    openssl pkey -in ec-traditional.pem -out ec.pem
    openssl pkcs8 -topk8 -nocrypt -in ec.pem -outform DER -out ec.der
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem 2>/dev/null
    openssl rsa -in small.pem -traditional -out small1.pem 2>/dev/null
    cat pkcs8.pem other.pem >two.pem
    openssl req -new -x509 -key ec.pem -subj /CN=k -days 30 -out ec-cert.pem
    openssl pkcs12 -export -inkey ec.pem -in ec-cert.pem -passout file:pass -out ec.p12
    openssl pkcs12 -export -nokeys -in cert.pem -passout file:pass -out certs.p12
    head -c 70000 /dev/zero >large
    : >empty
    refused 5 'not an RSA key\|not RSA' ec.pem
    refused 5 'not RSA' ec-traditional.pem
    refused 5 'not an RSA key' ec.der
    refused 5 'not an RSA key' ec.p12
    refused 5 '1024 bits' small.pem
    refused 5 '1024 bits' small1.pem
    refused 5 'more than one' two.pem
    refused 5 'no private key' cert.pem
    refused 5 'no private key' public.pem
    refused 5 'no private key' certs.p12
    refused 5 'lacks, such as RC2' legacy.p12
    refused 5 'not encrypted' plain.p12
    refused 5 'more than 65536 bytes' large
    refused 5 'neither PEM' empty
    refused 5 'neither PEM' pass
    refused 8 "can't be opened" nonesuch
    refused 8 "can't be read" .
    [ "$(objects)" = "$before" ]
}

@test "a file that asks for rounds without end is refused before they are done" {
    files
    openssl pkcs8 -topk8 -in pkcs8.pem -out rounds.pem -passout file:pass -iter 8388608
    openssl pkcs12 -export -inkey pkcs8.pem -nocerts -passout file:pass -out bag.p12 -iter 8388608 -nomac
    # The code's count, where openssl would take long: 2048 becomes 2^31-1.
    openssl pkcs12 -export -inkey pkcs8.pem -nocerts -passout file:pass -out small.p12
    python3 -c '
data = bytearray(open("small.p12", "rb").read())
assert data[-4:] == bytes([2, 2, 8, 0]) and data[:2] == bytes([0x30, 0x82])
def grow(at):
    if data[at + 1] == 0x82:
        data[at + 2:at + 4] = (int.from_bytes(data[at + 2:at + 4], "big") + 2).to_bytes(2, "big")
    else:
        data[at + 1] += 2
data[-4:] = bytes([2, 4, 0x7f, 0xff, 0xff, 0xff])
mac = max(i for i in range(len(data) - 40) if data[i] == 0x30 and i + 2 + data[i + 1] + 2 == len(data))
grow(mac)
grow(0)
open("code.p12", "wb").write(data)'
    for file in rounds.pem bag.p12 code.p12; do
        refused 5 'more than 8388607 rounds' "$file"
    done
}

@test "files that are cut short, go on, or are damaged are refused" {
    files
    before=$(objects)
    for file in pkcs8.pem pkcs1.pem pkcs8.der pkcs1.der pkcs8-aes.der key.p12; do
        head -c -40 "$file" >short.key
        refused 5 "" short.key
        { cat "$file" && printf 'x'; } >longer.key
        refused 5 "" longer.key
    done
    # The numbers don't belong together: each byte is in another one of them.
    for at in 100 400 650 750 900 1000 1150 1210; do
        cp pkcs8.der bad.der
        python3 -c '
import sys
data = bytearray(open("bad.der", "rb").read())
data[int(sys.argv[1])] ^= 4
open("bad.der", "wb").write(data)
' "$at"
        refused 5 "don't belong together" bad.der
    done
    sed '10s/./!/' pkcs8.pem >bad.pem
    refused 5 'damaged PEM' bad.pem
    sed 's/DEK-Info: AES-256-CBC/DEK-Info: DES-CBC/' pkcs1-aes.pem >bad.pem
    refused 5 'lacks' bad.pem
    [ "$(objects)" = "$before" ]
}

@test "an import that makes no sense" {
    files
    expect 2 import pkcs8.pem --no-expiry
    expect 2 import pkcs8.pem --name x
    expect 2 import pkcs8.pem --name x --no-expiry --id xyz
    expect 2 import pkcs8.pem --name 'a b' --no-expiry
    expect 2 import pkcs8.pem --name x --expires 2031-02-30
}
