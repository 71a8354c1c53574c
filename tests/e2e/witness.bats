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

# Of the files of runs: "PATH DETAIL" of each record, a line; the detail is "-" where there is none.
files_on_record() {
    python3 -c '
import glob, json, sys
for path in sorted(glob.glob(sys.argv[1] + "/trail-*.jsonl*")):
    for line in open(path):
        record = json.loads(line) if line.endswith("\n") else {}
        if record.get("op") == "file":
            print(record["file"], record.get("detail", "-"))
' "$trail"
}

# slowly OPTION...: decrypts 200 files in some seconds, in the background as $pid.
slowly() {
    need_shim
    if [ ! -e many.drop ]; then
        mkdir many
        for number in {001..200}; do echo "$number" >"many/$number"; done
        keyward seal many --out many.drop --key pkcs11:object=e2e --token "$KW_TEST_TOKEN" >/dev/null
    fi
    LD_PRELOAD=$shim KW_SHIM=pause:8:9999:many.drop/ "$KW_PROGRAM" decrypt many.drop --out out \
        --jobs 1 --token "$KW_TEST_TOKEN" "$@" 2>errors >/dev/null &
    pid=$!
}

# until_is COMMAND...: waits until it succeeds.
until_is() {
    for _ in {1..300}; do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.05
    done
    printf 'this never came: %s\n' "$*"
    return 1
}
some_files_on_record() { [ -n "$(files_on_record)" ]; }
more_checkpoints_than() { [ "$(find "$trail/checkpoints" -name '*[0-9]' | wc -l)" -gt "$1" ]; }

@test "a run that is killed has its files on record, signed at intervals, and --resume adds the rest" {
    expect 0 on_token audit sign
    printf '[audit]\ncheckpoint-interval = 1\n' >often.conf
    slowly --config often.conf
    until_is more_checkpoints_than 1
    until_is some_files_on_record
    kill -9 "$pid"
    wait "$pid" || true
    before=$(files_on_record)
    refute grep -v -q -- ' -$' <<<"$before"
    [ "$(wc -l <<<"$before")" -lt 200 ]
    while read -r file _; do cmp "many/$file" "out/$file"; done <<<"$before"
    # As if the process had been killed before the journal said that these are on record.
    grep -q '"recorded"' out/.keyward-journal
    sed -i '/"recorded"/d' out/.keyward-journal
    expect 0 keyward decrypt many.drop --out out --resume --token "$KW_TEST_TOKEN"
    diff -r many out
    after=$(files_on_record)
    [ "$(cut -d' ' -f1 <<<"$after" | sort -u | wc -l)" -eq 200 ]
    # None is there twice as if it had been done twice.
    [ -z "$(grep -- ' -$' <<<"$after" | sort | uniq -d)" ]
    [ -z "$(grep -v -- ' -$' <<<"$after" | sort | uniq -d)" ]
    [ "$(grep -c 'before the run was interrupted' <<<"$after")" -ge "$(wc -l <<<"$before")" ]
    [ "$(deeds | tail -n 1)" = "run outcome ok" ]
    expect 0 keyward audit verify
}

@test "where what became of a file can't be written, nothing more is decrypted: exit 9" {
    slowly
    until_is some_files_on_record
    mv "$trail/trail-000000000000.jsonl" elsewhere
    code=0
    wait "$pid" || code=$?
    [ "$code" -eq 9 ]
    grep -q 'removed or replaced while it was in use' errors
    # At most what ends in a second, or makes a batch.
    count=$(find out -type f -name '[0-9]*' | wc -l)
    [ "$count" -lt 190 ]
    mv elsewhere "$trail/trail-000000000000.jsonl"
    before=$(files_on_record | wc -l)
    [ "$before" -lt "$count" ]
    expect 0 keyward decrypt many.drop --out out --resume --token "$KW_TEST_TOKEN"
    diff -r many out
    [ "$(files_on_record | cut -d' ' -f1 | sort | uniq -d | wc -l)" -eq 0 ]
    [ "$(files_on_record | wc -l)" -eq 200 ]
    [ "$(files_on_record | grep -c 'before the run was interrupted')" -eq "$((count - before))" ]
}

@test "a run that ended before its last records were written gets them from --resume" {
    expect 0 decrypt "$E2E/drop"
    [ "$(files_on_record | wc -l)" -eq 3 ]
    # A run that was killed before it wrote them: they are cut off, and so is what says so.
    rm -r out
    run bash -c '"$KW_PROGRAM" decrypt "$E2E/drop" --out out --token "$KW_TEST_TOKEN" >/dev/full'
    [ "$status" -eq 8 ]
    sed -i '/"recorded"/d' out/.keyward-journal
    sed -i -e '/"op":"file"/d' -e '/"op":"run"/d' "$trail"/trail-*.jsonl
    rm -rf "$trail/checkpoints" "$trail/frontier" # what was signed could not be cut
    python3 -c '
import pathlib, re, sys
path, = pathlib.Path(sys.argv[1]).glob("trail-*.jsonl")
lines = path.read_text().splitlines()
path.write_text("".join(re.sub("^{\"seq\":[0-9]+", f"{{\"seq\":{i}", line) + "\n" for i, line in enumerate(lines)))
' "$trail"
    expect 0 decrypt "$E2E/drop" --resume
    whole
    [ "$(files_on_record | grep -c 'before the run was interrupted')" -eq 3 ]
    [ "$(deeds | tail -n 1)" = "run outcome ok" ]
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
    let_write_tokens
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
