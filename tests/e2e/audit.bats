# The audit trail's subcommands, over trails that were made without keyward.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

audit() { keyward audit "$@"; }

# make RECORDS CHECKPOINT...: a trail in the folder trail, and its key in key.pub.
make() { "$BATS_TEST_DIRNAME/trail.py" trail key "$@"; }

first=trail/trail-000000000000.jsonl

@test "a good trail verifies" {
    make 20 5 16
    expect 0 audit verify --key key.pub trail
    [ -z "$stderr" ]
    grep -q '^trail: 20 records, 16 of them signed, as 2 checkpoints say$' <<<"$output"
    grep -q '^the last 4 are not signed yet$' <<<"$output"
    expect 0 audit verify --key key.pub --json trail
    python3 -c '
import json, sys
verdict = json.load(sys.stdin)
assert len(verdict.pop("key")) == 64
assert verdict == {"schema": "keyward-audit-verify-1", "dir": "trail", "verdict": "good",
                   "message": None, "first": None, "last": None, "records": 20,
                   "signed_records": 16, "checkpoints": 2, "torn_bytes": 0, "own_key": False,
                   "key_changes": 0, "untold_key_changes": 0}
' <<<"$output"
}

@test "the key that lies beside the checkpoints is warned of" {
    make 4 4
    expect 0 audit verify trail
    warns 'proves little'
    expect 0 audit verify --quiet trail
    [ -z "$stderr" ]
}

@test "verify says what was done to which record, and ends with 9" {
    make 20 5 16
    cp -r trail good
    sed -i '4s/unwrap/unwrop/' "$first"
    expect 9 audit verify --key key.pub trail
    says 'a record between 0 and 4 was edited'
    expect 9 audit verify --key key.pub --json trail
    grep -q '"verdict":	"edited"' <<<"$output"
    grep -q '"last":	4' <<<"$output"
    cp good/trail-* trail && sed -i 4d "$first"
    expect 9 audit verify --key key.pub trail
    says 'record 3 was removed'
    cp good/trail-* trail && sed -i '4{h;d};5G' "$first"
    expect 9 audit verify --key key.pub trail
    says 'records were reordered: record 3 is not in its place, where record 4 is'
    cp good/trail-* trail && rm trail/trail-000000000016.jsonl
    sed -i '8d' trail/trail-000000000008.jsonl
    expect 9 audit verify --key key.pub trail
    says 'the trail was truncated: it ends before record 15, and 16 records were signed'
    cp good/trail-* trail && sed -i 's/^5$/6/' trail/checkpoints/000000000005
    expect 9 audit verify --key key.pub trail
    says 'the checkpoint of 5 records is not genuine'
}

@test "another key forges nothing, and each key that signed may be given" {
    make 4 4
    "$BATS_TEST_DIRNAME/trail.py" other other-key 4 4
    expect 9 audit verify --key other-key.pub trail
    says 'not signed by the key'
    cp other/checkpoints/* trail/checkpoints
    expect 9 audit verify --key key.pub trail
    says 'the checkpoint of 4 records is not genuine'
    expect 0 audit verify --key key.pub --key other-key.pub trail
}

@test "a key that signs since then is told, and warned of where no record says so" {
    make 20 5
    "$BATS_TEST_DIRNAME/trail.py" other other-key 20 12 16
    cp other/checkpoints/* trail/checkpoints
    expect 0 audit verify --key key.pub --key other-key.pub trail
    grep -q '^the key that signs changed so often: 1$' <<<"$output"
    warns 'between the checkpoints of 5 and 12 records, and no record says so'
    new=$(openssl pkey -pubin -in other-key.pub -outform DER | sha256sum | cut -d" " -f1)
    grep -q "^signed by the key $new$" <<<"$output"
}

@test "an older copy that was put back is noticed with --since" {
    make 20 5 16
    cp trail/checkpoints/000000000016 remembered
    expect 0 audit verify --key key.pub --since remembered trail
    rm -r trail
    make 8 5
    expect 0 audit verify --key key.pub trail
    expect 9 audit verify --key key.pub --since remembered trail
    says 'rolled back to an older state: it has 8 records, and had 16 before'
    echo nothing >remembered
    expect 9 audit verify --key key.pub --since remembered trail
    says 'is no checkpoint'
}

@test "what is no trail or no key is said" {
    expect 9 audit verify nowhere
    mkdir empty
    expect 9 audit verify empty
    says 'there is no audit trail in empty'
    expect 9 audit show empty
    make 4 4
    expect 8 audit verify --key missing trail
    expect 3 audit verify --key "$first" trail
    rm trail/key.pem
    expect 9 audit verify trail
    says '--key'
    mkfifo trail/trail-000000000004.jsonl
    expect 9 audit verify --key key.pub trail
}

@test "a proof is printed for what is signed" {
    make 20 5 16
    expect 0 audit prove 7 trail --key key.pub
    [ "${lines[0]}" = c2sp.org/tlog-proof@v1 ]
    [ "${lines[2]}" = 'index 7' ]
    [ "${lines[1]}" = "extra $(sed -n 8p "$first" | tr -d '\n' | base64 -w 0)" ]
    expect 9 audit prove 16 trail
    says 'not signed yet'
    expect 0 audit consistency 5 16 trail
    expect 9 audit consistency 5 21 trail
    says 'has 20 records'
    sed -i '4s/unwrap/unwrop/' "$first"
    expect 9 audit prove 7 trail
    [ -z "$output" ]
}

@test "what makes no sense is a usage error" {
    make 4 4
    expect 2 audit prove trail
    expect 2 audit prove
    expect 2 audit prove -1 trail
    expect 2 audit prove 1x trail
    expect 2 audit consistency 1 trail
    expect 2 audit consistency 0 4 trail
    expect 2 audit consistency 3 2 trail
    expect 2 audit verify trail trail
    expect 2 audit show --from yesterday trail
    expect 2 audit show --to 2026-1-1 trail
    expect 2 audit export --format xml trail
    expect 2 audit
}

# shown OPTION...: the numbers of the records that are shown.
shown() { audit show "$@" trail | awk '{ printf "%s ", $1 }'; }

@test "show filters by run, key, person, client and time" {
    make 12
    [ "$(shown)" = '0 1 2 3 4 5 6 7 8 9 10 11 ' ]
    [ "$(shown --run 00000000000000000000000000000001)" = '4 5 6 7 ' ]
    [ "$(shown --key key1)" = '1 3 5 7 9 11 ' ]
    [ "$(shown --key 77)" = '1 2 3 4 5 6 7 8 9 10 11 ' ]
    [ "$(shown --who alice)" = '1 4 7 10 ' ]
    [ "$(shown --who 1001)" = '2 5 8 11 ' ]
    [ "$(shown --from 2026-11-05)" = '8 9 10 11 ' ]
    [ "$(shown --to 2026-11-02)" = '0 1 2 3 ' ]
    [ "$(shown --from 2026-11-02T12:00:00.003Z --to 2026-11-03)" = '3 4 5 ' ]
    [ "$(shown --who alice --key key0 --run 00000000000000000000000000000001)" = '4 ' ]
    [ -z "$(shown --who nobody)" ]
    [ "$(shown --client client1)" = '9 11 ' ]
    [ -z "$(shown --client alice)" ]
    expect 0 audit show --client client0 trail
    grep -q '  for client0  unwrap' <<<"$output"
    expect 0 audit show --json --who alice --run 00000000000000000000000000000001 trail
    [ "$output" = "$(sed -n '5p;8p' "$first")" ]
}

@test "show lets no record write on the terminal" {
    make 2
    printf '{"seq":2,"op":"\\u001b[2J\\n","drop":"\\"a\\u202e"}\n' >>"$first"
    expect 0 audit show trail
    refute grep -q $'\x1b' <<<"$output"
    grep -q -F '\x1b[2J\x0a' <<<"$output"
}

@test "export writes JSON lines, CEF and syslog" {
    make 12
    expect 0 audit export trail
    [ "$output" = "$(cat trail/trail-*.jsonl)" ]
    expect 0 audit export --format cef trail
    [ "$(wc -l <<<"$output")" -eq 12 ]
    grep -q -F 'outcome|7|rt=1793793600007 externalId=7 suid=1000 spid=107 fsize=7 suser=alice' \
        <<<"$output"
    grep -q -F 'msg=a \= b | c' <<<"$output"
    expect 0 audit export --format syslog trail
    [ "$(grep -c '^<1[01][08]>1 2026-11-0.T12:00:00.0..Z host1 keyward 1[01]. ' <<<"$output")" -eq 12 ]
    grep -q -F "<108>1 2026-11-04T12:00:00.007Z host1 keyward 107 unwrap - $(sed -n 8p "$first")" \
        <<<"$output"
}

@test "without DIR, the configuration and then the user's state say where the trail is" {
    make 4 4
    mkdir -p state/keyward
    cp -r trail state/keyward/audit
    XDG_STATE_HOME=$PWD/state expect 0 audit verify
    grep -q "^$PWD/state/keyward/audit: 4 records" <<<"$output"
    printf '[audit]\ndir = %s/trail\n' "$PWD" >audit.conf
    XDG_STATE_HOME=$PWD/state expect 0 audit verify --config audit.conf
    grep -q "^$PWD/trail: 4 records" <<<"$output"
}

@test "a full disk under the output is an error" {
    [ -e /dev/full ] || skip "there is no /dev/full"
    make 12 12
    run bash -c '"$KW_PROGRAM" audit export trail >/dev/full'
    [ "$status" -eq 8 ]
    run bash -c '"$KW_PROGRAM" audit show trail >/dev/full'
    [ "$status" -eq 8 ]
    run bash -c '"$KW_PROGRAM" audit verify --quiet trail >/dev/full'
    [ "$status" -eq 8 ]
}
