# Backups of keys: wrapped under a key of another token, of the same one, or of openssl's.
# shellcheck disable=SC2154,SC2030,SC2031 # run sets output, stderr and status
load helper

on_token() { keyward "$@" --token "$KW_TEST_TOKEN"; }
name() { python3 -c 'import uuid; print(uuid.uuid4())'; }
field() { on_token key show "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["keys"][0][sys.argv[1]])' "$2"; }
objects() {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label "${1:-keyward}" --login --pin env:KW_PIN \
        --list-objects 2>/dev/null | sed "s/^Data object [0-9]*/Data object/" | sort
}
aes_key() { # TOKEN LABEL ID
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label "$1" --login --pin env:KW_PIN --keygen \
        --key-type AES:32 --label "$2" --id "$3" --sensitive --usage-wrap >/dev/null 2>&1
}
# lose NAME: both halves are gone.
lose() {
    local id kind
    id=$(field "$1" id)
    for kind in privkey pubkey; do
        pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
            --delete-object --type "$kind" --id "$id" >/dev/null
    done
}
# A key that has sealed a drop, in the variables key and id.
key_with_drop() {
    key=$(name)
    on_token key create "$key" --expires 2031-12-31 --exportable
    id=$(field "$key" id)
    on_token seal "$E2E/src" --out drop --key "$key"
}
# The drop decrypts with the id that it was sealed for.
opens_drop() {
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    diff -r "$E2E/src" out
}

# A second token with the same PIN, with an RSA and two AES keys.
setup_file() {
    pkcs11-tool --module "$KW_TEST_MODULE" --list-token-slots | grep -q second ||
        softhsm2-util --init-token --free --label second --pin "$KW_PIN" --so-pin "$KW_PIN" >/dev/null
    export SECOND="pkcs11:token=second?module-path=$KW_TEST_MODULE&pin-source=file:$KW_TEST_PIN_FILE"
    aes_key second aes 0a
    aes_key second other-aes 0b
    aes_key keyward aes 0c
    keyward key create rsa --no-expiry --token "$SECOND"
}
# kek OBJECT: its URI on the second token.
kek() { printf '%s' "${SECOND/\?/;object=$1?}"; }

@test "an RSA KEK in PEM: openssl alone finds the key in the backup" {
    key_with_drop
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out kek.pem 2>/dev/null
    openssl pkey -in kek.pem -pubout -out kek.pub
    expect 0 on_token key backup "$key" --to key.backup --kek kek.pub
    grep -q 'and verified' <<<"$output"
    expect 8 on_token key backup "$key" --to key.backup --kek kek.pub
    expect 0 on_token key backup "$key" --to key.backup --kek kek.pub --force --quiet
    [ -z "$output" ]
    python3 -c '
import base64, hashlib, json, subprocess, sys
file = json.load(open("key.backup"))
assert file["schema"] == "keyward-backup-1" and file["enc"] == "CKM_RSA_AES_KEY_WRAP"
assert file["key"]["name"] == sys.argv[1] and file["key"]["id"] == sys.argv[2]
assert file["key"]["bits"] == 2048 and file["key"]["extractable"] is True
assert file["key"]["expires"] == "2031-12-31" and file["key"]["not_before"] is None
assert file["token"]["label"] == "keyward" and file["kek"]["kind"] == "RSA"
text = file["ciphertext"]
data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
def openssl(*words, data):
    return subprocess.run(["openssl", *words], input=data, stdout=subprocess.PIPE, check=True).stdout
aes = openssl("pkeyutl", "-decrypt", "-inkey", "kek.pem", "-pkeyopt", "rsa_padding_mode:oaep", data=data[:384])
plain = openssl("enc", "-d", "-id-aes256-wrap-pad", "-K", aes.hex(), "-iv", "a65959a6", data=data[384:])
length = int.from_bytes(plain[2:4], "big") + 4 # without the zero bytes of some tokens
public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=plain[:length])
assert hashlib.sha256(public).hexdigest() == file["key"]["fingerprint"]
kek = openssl("pkey", "-in", "kek.pem", "-pubout", "-outform", "DER", data=b"")
assert hashlib.sha256(kek).hexdigest() == file["kek"]["fingerprint"]
' "$key" "$id"
    expect 2 on_token key restore key.backup --kek kek.pub
    expect 5 on_token key restore key.backup
    says 'no key'
}

# back_and_forth KEK [RESTORE-OPTION...]
back_and_forth() {
    local with=$1
    shift
    key_with_drop
    before=$(objects second)
    expect 0 on_token key backup "$key" --to key.backup --kek "$with"
    grep -q 'and verified' <<<"$output"
    refute grep -q "$KW_PIN" key.backup
    refute grep -q BEGIN key.backup
    expect 8 on_token key restore key.backup "$@"
    says 'this id already'
    lose "$key"
    expect 5 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    expect 0 on_token key restore key.backup "$@"
    [ "$(field "$key" id)" = "$id" ]
    [ "$(field "$key" expires)" = 2031-12-31 ]
    [ "$(field "$key" extractable)" = False ]
    opens_drop
    # Nothing stays on the way.
    diff <(printf "%s\n" "$before") <(objects second)
    [ "$(objects | grep -c 'keyward transport\|keyward scratch')" -eq 0 ]
}

@test "an AES key on another token" { back_and_forth "$(kek aes)" --kek "$(kek aes)"; }

@test "an RSA key on another token" { back_and_forth "$(kek rsa)" --kek "$(kek rsa)"; }

@test "an AES key on the same token, found again by what the backup says" {
    back_and_forth 'pkcs11:object=aes'
}

@test "an RSA key on the same token, found again by what the backup says" {
    kek=$(name)
    on_token key create "$kek" --no-expiry
    back_and_forth "pkcs11:object=$kek"
}

@test "an RSA key of the same token by a URI that says how to reach it" {
    kek=$(name)
    on_token key create "$kek" --no-expiry
    uri=${KW_TEST_TOKEN/\?/;object=$kek?}
    back_and_forth "$uri" --kek "$uri"
}

@test "restored under another name, with other dates, exportable, beside newer versions" {
    key_with_drop
    on_token key backup "$key" --to key.backup --kek "$(kek aes)"
    lose "$key"
    on_token key create "$key" --no-expiry
    # The name is that of another version, and may be.
    expect 0 on_token key restore key.backup --kek "$(kek aes)" --no-expiry --not-before 2026-01-01 \
        --exportable --json
    python3 -c '
import json, sys
key, = json.load(sys.stdin)["keys"]
assert key["label"] == sys.argv[1] and key["id"] == sys.argv[2] and key["extractable"]
assert (key["not_before"], key["expires"]) == ("2026-01-01", None)
' "$key" "$id" <<<"$output"
    opens_drop
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --delete-object --type privkey --id "$id" >/dev/null
    # Half of a key is in the way too.
    expect 8 on_token key restore key.backup --kek "$(kek aes)"
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --delete-object --type pubkey --id "$id" >/dev/null
    new=$(name)
    expect 0 on_token key restore key.backup --kek "$(kek aes)" --name "$new" --expires 2032-01-01
    [ "$(field "$new" id)" = "$id" ]
    [ "$(field "$new" expires)" = 2032-01-01 ]
}

@test "what can't be backed up says so and leaves no file" {
    locked=$(name)
    on_token key create "$locked" --no-expiry
    key_with_drop
    before=$(objects; objects second)
    for with in "$(kek aes)" "$(kek rsa)" pkcs11:object=aes; do
        expect 5 on_token key backup "$locked" --to x.backup --kek "$with"
        says 'not extractable'
    done
    expect 5 on_token key backup nonesuch --to x.backup --kek "$(kek aes)"
    expect 5 on_token key backup "$key" --to x.backup --kek "$(kek nonesuch)"
    says 'no key'
    expect 5 on_token key backup "$key" --to x.backup --kek 'pkcs11:token=second;object=aes'
    says 'another token'
    expect 2 on_token key backup "$key" --to x.backup --kek "pkcs11:object=$key"
    says 'under itself'
    expect 3 on_token key backup "$key" --to x.backup --kek "$BATS_TEST_FILENAME"
    expect 8 on_token key backup "$key" --to x.backup --kek nonesuch.pem
    expect 2 on_token key backup "$key" --to x.backup
    expect 2 on_token key backup "$key" --kek "$(kek aes)"
    expect 8 on_token key backup "$key" --to /nonesuch/x.backup --kek "$(kek aes)"
    [ ! -e x.backup ]
    [ "$(objects; objects second)" = "$before" ]
}

# spoil PYTHON: the backup with what the code does to `file` and `data` (the ciphertext).
spoil() {
    python3 -c '
import base64, json, sys
file = json.load(open("key.backup"))
text = file["ciphertext"]
data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
exec(sys.argv[1])
if "ciphertext" in file and file["ciphertext"] == text:
    file["ciphertext"] = base64.urlsafe_b64encode(data).decode().rstrip("=")
json.dump(file, open("bad.backup", "w"))
' "$1"
}

@test "a wrong KEK, and a backup that is damaged anywhere, leave nothing" {
    key_with_drop
    on_token key backup "$key" --to key.backup --kek "$(kek aes)"
    lose "$key"
    before=$(objects; objects second)
    expect 5 on_token key restore key.backup --kek "$(kek other-aes)"
    says 'does not unwrap'
    expect 5 on_token key restore key.backup --kek "$(kek rsa)"
    says 'another key than --kek'
    expect 5 on_token key restore key.backup --kek pkcs11:object=aes
    expect 5 on_token key restore key.backup
    expect 8 on_token key restore nonesuch
    for at in 0 1 7 8 9 500 1000 -1; do
        spoil "data[$at] ^= 1"
        expect 5 on_token key restore bad.backup --kek "$(kek aes)"
        says 'does not unwrap'
    done
    spoil 'file["key"]["fingerprint"] = "00" * 32'
    expect 5 on_token key restore bad.backup --kek "$(kek aes)"
    says 'fingerprint differs'
    for code in 'del file["schema"]' 'file["schema"] = "keyward-backup-2"' 'del file["key"]' \
        'file["key"] = 7' 'file["key"]["name"] = ""' 'file["key"]["name"] = "n" * 256' \
        'file["key"]["id"] = "abc"' 'file["key"]["id"] = ""' 'file["key"]["id"] = "00" * 256' \
        'file["key"]["bits"] = 1024' 'file["key"]["bits"] = 2048.5' 'file["key"]["bits"] = "2048"' \
        'file["key"]["fingerprint"] = "00" * 31' 'file["key"]["expires"] = "tomorrow"' \
        'file["key"]["extractable"] = 1' 'file["created"] = None' 'del file["token"]["serial"]' \
        'file["token"]["label"] = "x" * 264' 'file["kek"]["kind"] = "DES"' 'file["kek"]["kind"] = "RSA"' \
        'file["kek"]["fingerprint"] = "00" * 32' 'file["enc"] = "CKM_RSA_AES_KEY_WRAP"' \
        'del file["ciphertext"]' 'file["ciphertext"] = "!"' 'file["ciphertext"] = text[:-12]' \
        'file["ciphertext"] = text * 20' 'file = [file]'; do
        spoil "$code"
        expect 4 on_token key restore bad.backup --kek "$(kek aes)"
    done
    spoil 'file["key"]["expires"] = "2031-02-30"'
    expect 2 on_token key restore bad.backup --kek "$(kek aes)"
    head -c 500 key.backup >bad.backup
    expect 4 on_token key restore bad.backup --kek "$(kek aes)"
    [ "$(objects; objects second)" = "$before" ]
    expect 0 on_token key restore key.backup --kek "$(kek aes)"
    opens_drop
}

@test "an RSA backup that is damaged leaves nothing, on the KEK's own token and by way of it" {
    key_with_drop
    kek=$(name)
    on_token key create "$kek" --no-expiry
    for with in "$(kek rsa)" "pkcs11:object=$kek"; do
        on_token key backup "$key" --to key.backup --kek "$with" --force
        lose "$key"
        before=$(objects; objects second)
        for at in 0 255 256 264 700 -1; do
            spoil "data[$at] ^= 1"
            expect 5 on_token key restore bad.backup --kek "$with"
            says 'does not unwrap'
        done
        expect 5 on_token key restore key.backup --kek 'pkcs11:object=e2e'
        [ "$(objects; objects second)" = "$before" ]
        expect 0 on_token key restore key.backup --kek "$with" --exportable
    done
    opens_drop
}

@test "a PIN in the URI of the token of a second key is sent as it is" {
    uri="pkcs11:token=second?module-path=$KW_TEST_MODULE&pin-value=$KW_PIN"
    expect 5 on_token key check e2e --for customer-key --with rsa --with-token "$uri"
    grep -q 'KeyCount .*Passed' <<<"$output"
    warns 'the PIN stands in'
    expect 2 on_token key check e2e --for dataverse --with-token "$uri"
    says '--with'
}

@test "a KEK that was deleted wraps no backup and opens none, and says so" {
    key_with_drop
    keyward byok kek create "$key-kek" --no-expiry --token "$SECOND"
    expect 0 on_token key backup "$key" --to key.backup --kek "$(kek "$key-kek")"
    keyward key delete "$key-kek" --token "$SECOND"
    expect 5 on_token key backup "$key" --to other.backup --kek "$(kek "$key-kek")"
    says 'was deleted'
    [ ! -e other.backup ]
    lose "$key"
    expect 5 on_token key restore key.backup --kek "$(kek "$key-kek")"
    says 'was deleted'
    keyward key recover "$key-kek" --token "$SECOND"
    expect 2 on_token key restore key.backup --kek "$(kek "$key-kek")" --name keyward-records
    says 'signs the records'
    expect 0 on_token key restore key.backup --kek "$(kek "$key-kek")"
    opens_drop
}

@test "a public half that was left alone says how to be removed" {
    key_with_drop
    on_token key backup "$key" --to key.backup --kek "$(kek aes)"
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --delete-object --type privkey --id "$id"
    expect 8 on_token key restore key.backup --kek "$(kek aes)"
    says "--type pubkey --id $id"
}
