# The life of keys: disabled, deleted, recovered, purged; their records, and what an edit does.
# With KW_TEST_FAULT_MODULE the token refuses data objects, so that records are in the catalogue.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
    printf '[keys]\n' >keys.conf
    if [ -n "${KW_TEST_FAULT_MODULE-}" ]; then
        export KW_FAULT_REAL_MODULE=$KW_TEST_MODULE KW_FAULT_REFUSE_DATA=yes
        KW_TEST_TOKEN=${KW_TEST_TOKEN/"$KW_TEST_MODULE"/"$KW_TEST_FAULT_MODULE"}
        let_write_tokens
    fi
}

# on_token SUBCOMMAND...: with the settings that a test added to keys.conf.
on_token() { keyward "$@" --token "$KW_TEST_TOKEN" --config "$BATS_TEST_TMPDIR/keys.conf"; }
key() { on_token key "$@"; }
name() { python3 -c 'import uuid; print(uuid.uuid4())'; }

# told NAME FIELD: what key show says of the field, of each version a line.
told() {
    key show "$1" --json | python3 -c '
import json, sys
for key in json.load(sys.stdin)["keys"]:
    print(key[sys.argv[1]])' "$2"
}

# made NAME: a key, and a drop that is sealed to it.
made() {
    key create "$1" --no-expiry >/dev/null
    on_token seal "$E2E/src" --out "drop-$1" --key "$1" >/dev/null
}
decrypts() {
    expect 0 on_token decrypt "drop-$1" --out "out-$RANDOM$RANDOM"
}

# Values of the records, as another program sees them.
records() {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --list-objects --type data
}
# record_of NAME: the label of its record.
record_of() {
    printf 'record %s' "$(told "$1" modulus | python3 -c '
import hashlib, sys
print(hashlib.sha256(bytes.fromhex(sys.stdin.read().strip())).hexdigest())')"
}
# read_record LABEL FILE, write_record LABEL FILE: behind Keyward's back.
data_tool() {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --type data --application-label keyward "$@" >/dev/null
}
read_record() { data_tool --read-object --label "$1" --output-file "$2"; }
write_record() {
    data_tool --delete-object --label "$1"
    data_tool --write-object "$2" --label "$1" --private
}

@test "a disabled key unwraps nothing and seals nothing, and the token refuses too, until enabled" {
    k=$(name)
    made "$k"
    expect 0 key disable "$k"
    expect 5 on_token decrypt "drop-$k" --out out
    says 'is disabled; enable it with keyward key enable'
    [ ! -e out ] || assert_no_files out
    expect 5 on_token seal "$E2E/src" --out again --key "$k"
    says 'is disabled'
    expect 0 on_token inspect "drop-$k"
    grep -q 'disabled' <<<"$output"
    # Not through another program either.
    [ "$(told "$k" decrypt) $(told "$k" unwrap)" = "False False" ]
    # Once more is no failure.
    expect 0 key disable "$k"
    expect 0 key enable "$k"
    [ "$(told "$k" state)" = enabled ]
    decrypts "$k"
}

@test "a deleted key is kept for 90 days, unwraps nothing, and comes back as it was" {
    k=$(name)
    made "$k"
    expect 0 key delete "$k"
    [ "$(told "$k" state)" = deleted ]
    python3 -c '
import datetime, sys
deleted, after = (datetime.datetime.fromisoformat(x.replace("Z", "+00:00")) for x in sys.argv[1:])
assert after - deleted == datetime.timedelta(days=90)
' "$(told "$k" deleted)" "$(told "$k" purge_after)"
    expect 5 on_token decrypt "drop-$k" --out out
    says 'was deleted on .*key recover'
    expect 5 key disable "$k"
    says 'recover it first'
    expect 5 key enable "$k"
    expect 8 key create "$k" --no-expiry
    expect 0 key recover "$k"
    [ "$(told "$k" state)" = enabled ]
    decrypts "$k"
    expect 5 key recover "$k"
    says 'is not deleted'
}

@test "a disabled key that was deleted comes back disabled" {
    k=$(name)
    made "$k"
    key disable "$k"
    key delete "$k"
    expect 0 key recover "$k"
    [ "$(told "$k" state)" = disabled ]
    expect 5 on_token decrypt "drop-$k" --out out
    expect 0 key enable "$k"
    decrypts "$k"
}

@test "a purge wants a deleted key and its name once more; then both halves and the record are gone" {
    k=$(name)
    made "$k"
    expect 5 key purge "$k" --confirm "$k"
    says 'is not deleted'
    key delete "$k"
    expect 2 key purge "$k"
    says '--confirm'
    expect 2 key purge "$k" --confirm "${k}x"
    says 'nothing was purged'
    label=$(record_of "$k")
    id=$(told "$k" id)
    expect 0 key purge "$k" --confirm "$k"
    expect 5 key show "$k"
    objects=$(pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --list-objects)
    refute grep -q "$id" <<<"$objects"
    refute grep -q "$label" <<<"$objects"
}

@test "a name with a version that is not deleted is not purged in part" {
    k=$(name)
    key create "$k" --no-expiry
    key rotate "$k" --no-expiry
    old=$(told "$k" id | tail -n 1)
    expect 0 key delete "$old"
    expect 5 key purge "$k" --confirm "$k"
    says 'is not deleted, so nothing was purged'
    [ "$(told "$k" id | wc -l)" -eq 2 ]
    expect 0 key purge "$old" --confirm "$old"
    [ "$(told "$k" id | wc -l)" -eq 1 ]
}

@test "purge protection and the retention time hold as they were when the key was deleted" {
    k=$(name)
    made "$k"
    printf '[keys]\npurge-protection = yes\nretention-days = 7\n' >keys.conf
    key delete "$k"
    printf '[keys]\npurge-protection = no\nretention-days = 1\n' >keys.conf
    expect 5 key purge "$k" --confirm "$k"
    says 'under purge protection; it can be purged after'
    python3 -c '
import datetime, sys
deleted, after = (datetime.datetime.fromisoformat(x.replace("Z", "+00:00")) for x in sys.argv[1:])
assert after - deleted == datetime.timedelta(days=7)
' "$(told "$k" deleted)" "$(told "$k" purge_after)"
    expect 0 key recover "$k"
    decrypts "$k"
}

@test "versions come newest first, with when and where they were made" {
    k=$(name)
    key create "$k" --no-expiry
    first=$(told "$k" id)
    sleep 1.1 # a record's times are in seconds
    key rotate "$k" --no-expiry
    sleep 1.1
    key rotate "$k" --no-expiry
    [ "$(told "$k" id | tail -n 1)" = "$first" ]
    told "$k" created | sort -r -c
    [ "$(told "$k" origin | sort -u)" = token ]
    [ "$(told "$k" made_on | sort -u | wc -l)" -eq 1 ]
}

@test "tags are set, changed and taken away" {
    k=$(name)
    expect 0 key create "$k" --no-expiry --tag owner=finance --tag 'cost centre=4 711'
    [ "$(told "$k" tags)" = "{'owner': 'finance', 'cost centre': '4 711'}" ]
    expect 0 key set "$k" --tag owner=audit --tag 'cost centre='
    [ "$(told "$k" tags)" = "{'owner': 'audit'}" ]
    expect 2 key set "$k" --tag novalue
    expect 2 key set "$k" --tag =x
    expect 2 key set "$k" --tag "x=$(printf 'y%.0s' {1..257})"
    for i in {1..14}; do
        key set "$k" --tag "tag$i=$(printf '\\%.0s' {1..256})" >/dev/null || return
    done
    expect 2 key set "$k" --tag one-more=x
    [ "$(told "$k" state)" = enabled ]
}

@test "an edited record shows, the key is not used, and key enable begins a new one" {
    k=$(name)
    made "$k"
    key disable "$k"
    label=$(record_of "$k")
    if records | grep -q "$label"; then
        read_record "$label" record
    else
        python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
open("record", "w").write(db.execute("SELECT value FROM record WHERE label = ?", [sys.argv[2]]).fetchone()[0])
' state/keyward/catalogue.db "$label"
    fi
    # "disabled" becomes false, under the old signature.
    python3 -c '
import base64, json
head, body, signature = open("record").read().split(".")
record = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
assert record["disabled"] is True and json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] in ("PS256", "RS256")
record["disabled"] = False
body = base64.urlsafe_b64encode(json.dumps(record, separators=(",", ":")).encode()).decode().rstrip("=")
open("edited", "w").write(".".join((head, body, signature)))
'
    if records | grep -q "$label"; then
        write_record "$label" edited
    else
        python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("UPDATE record SET value = ? WHERE label = ?", [open("edited").read(), sys.argv[2]])
db.commit()
' state/keyward/catalogue.db "$label"
    fi
    [ "$(told "$k" state)" = "record bad" ]
    told "$k" record_fault | grep -q 'edited'
    expect 5 on_token decrypt "drop-$k" --out out
    says 'can.t be trusted'
    expect 5 key disable "$k"
    expect 5 key purge "$k" --confirm "$k"
    expect 0 key enable "$k"
    warns 'could not be trusted'
    decrypts "$k"
}

@test "a record of another key under this one's name is no record" {
    k=$(name) other=$(name)
    made "$k"
    key create "$other" --no-expiry >/dev/null
    label=$(record_of "$k")
    records | grep -q "$label" || skip "the records are in the catalogue"
    read_record "$(record_of "$other")" record
    write_record "$label" record
    expect 5 on_token decrypt "drop-$k" --out out
    says "is not this key.s"
}

@test "records signed by a key that is gone are not trusted" {
    k=$(name)
    printf '[keys]\nrecords-key = signer-%s\n' "$k" >keys.conf
    made "$k"
    expect 0 key show "signer-$k"
    grep -q ' sign ' <<<"$output"
    signer=$(told "signer-$k" id)
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --delete-object --type privkey --id "$signer"
    expect 5 on_token decrypt "drop-$k" --out out
    says 'not on the token'
    expect 0 key enable "$k"
    decrypts "$k"
}

@test "a key without a record is used as it is, and gets one when it is needed" {
    expect 0 on_token decrypt "$E2E/drop" --out out
    [ "$(told e2e created)" = None ]
    [ "$(told e2e state)" = enabled ]
    expect 0 key disable e2e
    expect 5 on_token decrypt "$E2E/drop" --out out2
    expect 0 key enable e2e
    expect 0 on_token decrypt "$E2E/drop" --out out2
}

@test "a key exchange key is for that alone, and its JWK says so" {
    k=$(name)
    expect 0 on_token byok kek create "$k" --no-expiry --bits 2048
    expect 0 on_token byok kek show "$k" --json
    python3 -c '
import json, sys
key, = json.load(sys.stdin)["keys"]
assert key["jwk"]["key_ops"] == ["import"] and key["unwrap"] and not key["decrypt"]
' <<<"$output"
    expect 5 on_token byok kek show e2e
    says 'byok kek create'
    expect 0 on_token key create "$k-source" --no-expiry --exportable
    expect 0 on_token byok kek show "$k"
    sed -n '/^-----BEGIN/,/^-----END/p' <<<"$output" >kek.pub
    run on_token byok export "$k-source" --kek kek.pub --out key.byok \
        --kid https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef
    [ "$status" -eq 0 ] || skip "this token wraps no private key"
    expect 0 on_token byok import key.byok --kek "$k" --name "$k-copy" --no-expiry
    [ "$(told "$k-copy" origin)" = byok ]
    key disable "$k"
    expect 5 on_token byok import key.byok --kek "$k" --name "$k-copy2" --no-expiry
    says 'is disabled'
}

@test "a URI that names another token means no key of this one" {
    k=$(name)
    key create "$k" --no-expiry
    for step in show disable delete; do
        expect 5 key "$step" "pkcs11:token=another;object=$k"
        says 'names another token'
    done
    [ "$(told "$k" state)" = enabled ]
    expect 0 key disable "pkcs11:token=keyward;object=$k"
    expect 5 key check "pkcs11:token=another;object=$k" --for dataverse
    says 'names another token'
    expect 5 key purge "pkcs11:token=another;object=$k" --confirm "pkcs11:token=another;object=$k"
    says 'names another token'
}

@test "the next version is for what the others are for, and a deleted key has none" {
    k=$(name)
    expect 0 on_token byok kek create "$k" --no-expiry --bits 2048
    expect 0 key disable "$k"
    expect 0 key rotate "$k" --no-expiry
    expect 0 key enable "$k"
    [ "$(told "$k" decrypt)" = $'False\nFalse' ]
    expect 0 on_token byok kek show "$k"
    expect 0 key delete "$k"
    expect 5 key rotate "$k" --no-expiry
    says 'was deleted'
    [ "$(told "$k" id | wc -l)" -eq 2 ]
    expect 0 key recover "$(told "$k" id | tail -n 1)"
    expect 0 key rotate "$k" --no-expiry
}

@test "no other key gets the name of the one that signs records" {
    k=$(name)
    key create "$k" --no-expiry --exportable
    printf '[keys]\nrecords-key = signer-%s\n' "$k" >keys.conf
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
    expect 2 key create "signer-$k" --no-expiry
    says 'signs the records'
    expect 2 key import key.pem --name "signer-$k" --no-expiry
    expect 2 key set "$k" --label "signer-$k"
    [ "$(told "$k" label)" = "$k" ]
    printf '[keys]\n' >keys.conf
    expect 2 key rotate keyward-records --no-expiry
    says 'signs the records'
}

@test "where one version is under purge protection no other is purged either" {
    k=$(name)
    key create "$k" --no-expiry
    key rotate "$k" --no-expiry
    printf '[keys]\npurge-protection = yes\n' >keys.conf
    key delete "$(told "$k" id | tail -n 1)"
    printf '[keys]\n' >keys.conf
    key delete "$(told "$k" id | head -n 1)"
    expect 5 key purge "$k" --confirm "$k"
    says 'under purge protection'
    [ "$(told "$k" id | wc -l)" -eq 2 ]
}

@test "a purge that is interrupted where it asks purges nothing" {
    k=$(name)
    key create "$k" --no-expiry
    key delete "$k"
    run tool prompt $'\x03' "$KW_PROGRAM" key purge "$k" --token "$KW_TEST_TOKEN" --config keys.conf
    [ "$status" -eq 130 ]
    run tool prompt "$k" "$KW_PROGRAM" key purge "$k" --token "$KW_TEST_TOKEN" --config keys.conf
    [ "$status" -eq 0 ]
    expect 5 key show "$k"
}

@test "a key exchange key that is disabled is not shown to those who would wrap for it" {
    k=$(name)
    expect 0 on_token byok kek create "$k" --no-expiry --bits 2048
    key disable "$k"
    expect 5 on_token byok kek show "$k"
    says 'is disabled'
    key enable "$k"
    expect 0 on_token byok kek show "$k"
}
