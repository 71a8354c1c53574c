# What is on the audit trail, and that nothing is done unless it is.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
    trail=$XDG_STATE_HOME/keyward/audit
}

on_token() { keyward "$@" --token "$KW_TEST_TOKEN"; }
name() { python3 -c 'import uuid; print(uuid.uuid4())'; }
# deeds: "OP PHASE STATUS" of each record, a line.
deeds() {
    python3 -c '
import glob, json, sys
for path in sorted(glob.glob(sys.argv[1] + "/trail-*.jsonl")):
    for line in open(path):
        record = json.loads(line)
        print(record["op"], record.get("phase", "-"), record.get("status", "-"))
' "$trail"
}
# record_of OP PHASE: the newest such record.
record_of() { cat "$trail"/trail-*.jsonl | grep "\"phase\":\"$2\",\"op\":\"$1\"" | tail -n 1; }

@test "a decryption is on record: intent, unwrapping, each file with its digest, the run" {
    expect 0 decrypt "$E2E/drop" --json
    [ "$(deeds)" = "trail.begin - -
unwrap intent -
unwrap outcome ok
file outcome ok
file outcome ok
file outcome ok
run outcome ok" ]
    record=$(record_of unwrap outcome)
    grep -q "\"label\":\"e2e\",\"id\":\"$KW_KEY_ID\"" <<<"$record"
    grep -q '"alg":"RSA-OAEP"' <<<"$record"
    run_id=$(python3 -c 'import json,sys; print(json.load(sys.stdin)["run"])' <<<"$record")
    [ "$(grep -c "$run_id" "$trail"/trail-*.jsonl)" -eq 6 ]
    # The digest is the ciphertext's.
    grep '"file":"a.json"' "$trail"/trail-*.jsonl | grep -q "$(sha256sum <"$E2E/drop/a.json" | cut -d' ' -f1)"
}

@test "what is added is signed at the end of each command, once there is a key for it" {
    expect 0 decrypt "$E2E/drop"
    expect 0 on_token audit sign
    expect 0 on_token key show keyward-records
    sed -n '/^-----BEGIN/,/^-----END/p' <<<"$output" >records.pem
    keyward decrypt "$E2E/drop" --out out2 --token "$KW_TEST_TOKEN"
    keyward cat "$E2E/drop" a.json --token "$KW_TEST_TOKEN" >/dev/null
    expect 0 keyward audit verify --key records.pem
    refute grep -q 'not signed yet' <<<"$output"
    # An edit shows.
    sed -i 's/"file":"b.json"/"file":"x.json"/' "$trail"/trail-*.jsonl
    expect 9 keyward audit verify --key records.pem
    says 'edited'
}

@test "where the intent can't be written, nothing is unwrapped: exit 9" {
    spied
    token=$(token_with "pin-source=file:$KW_TEST_PIN_FILE")
    mkdir -p "$XDG_STATE_HOME/keyward"
    echo no folder >"$trail"
    expect 9 keyward decrypt "$E2E/drop" --out out --token "$token"
    says 'audit trail'
    assert_no_files out
    [ "$(calls_of C_DecryptInit)" -eq 0 ]
    k=$(name)
    expect 9 keyward key create "$k" --no-expiry --token "$token"
    [ "$(calls_of C_GenerateKeyPair)" -eq 0 ]
    expect 9 keyward key disable e2e --token "$token"
    [ "$(calls_of C_SetAttributeValue)" -eq 0 ]
    rm "$trail"
    expect 0 keyward decrypt "$E2E/drop" --out out --token "$token"
}

@test "a trail on a full disk stops everything, and goes on when there is room" {
    [ "$(id -u)" -eq 0 ] || skip "mounting needs root"
    mkdir -p "$trail"
    mount -t tmpfs -o size=64k,mode=700 tmpfs "$trail" || skip "nothing can be mounted here"
    dd if=/dev/zero of="$trail/filler" bs=1k count=64 2>/dev/null || true
    run --separate-stderr decrypt "$E2E/drop"
    code=$status
    rm -f "$trail/filler"
    umount "$trail"
    [ "$code" -eq 9 ]
    assert_no_files out
    expect 0 decrypt "$E2E/drop"
}

@test "the intent is on the disk while the token still works, and an outcome may never come" {
    fault=$(dirname "$KW_PROGRAM")/tests/pkcs11/kw_fault_module.so
    [ -e "$fault" ] || skip "the module with faults is not built beside the program"
    KW_FAULT_REAL_MODULE=$KW_TEST_MODULE KW_FAULT_SCRIPT="C_Decrypt hang" "$KW_PROGRAM" decrypt "$E2E/drop" \
        --out out --token "${KW_TEST_TOKEN/"$KW_TEST_MODULE"/"$fault"}" 2>/dev/null &
    pid=$!
    for _ in {1..100}; do
        [ -z "$(record_of unwrap intent 2>/dev/null)" ] || break
        sleep 0.1
    done
    kill -9 "$pid"
    wait "$pid" || true
    [ "$(deeds | tail -n 1)" = "unwrap intent -" ]
    assert_no_files out
    expect 0 decrypt "$E2E/drop"
}

@test "what the token answered to a failed unwrap is on the trail and nowhere else" {
    copy_drop
    tool damage-wrapped-key drop 2>/dev/null || python3 -c '
import base64, json, pathlib
path, = pathlib.Path("drop/metadata").rglob("*.json")
text = path.read_text()
wrapped = max((x for x in text.split("\"")), key=len)
data = bytearray(base64.b64decode(wrapped))
data[100] ^= 1
path.write_text(text.replace(wrapped, base64.b64encode(data).decode()))'
    expect 5 decrypt drop --unwrap-alg RSA-OAEP
    refute says CKR_
    record_of unwrap outcome | grep -q '"status":"key-unwrap","ck_rv":"0x'
}

@test "a refused use of a disabled key is on record" {
    k=$(name)
    on_token key create "$k" --no-expiry >/dev/null
    on_token seal "$E2E/src" --out drop --key "$k" >/dev/null
    on_token key disable "$k"
    expect 5 decrypt drop
    [ "$(deeds | tail -n 1)" = "unwrap outcome key-unusable" ]
    [ "$(deeds | grep -c '^key\.')" -eq 4 ]
}

@test "no secret reaches the trail" {
    k=$(name)
    on_token key create "$k" --no-expiry --exportable >/dev/null
    expect 0 decrypt "$E2E/drop"
    keyward cat "$E2E/drop" a.json --token "$(token_with "pin-value=$KW_PIN")" >/dev/null
    refute grep -r -q -F -e "$KW_PIN\"" -e "pin-value" -e 'the first file' "$trail"
}

@test "with enabled = no there is no trail" {
    printf '[audit]\nenabled = no\n' >no.conf
    expect 0 decrypt "$E2E/drop" --config no.conf
    [ ! -e "$trail" ]
    expect 3 on_token audit sign --config no.conf
}
