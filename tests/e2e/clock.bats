# A wall clock that jumps: years forwards and backwards, between any two looks at it.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

# Twenty years on, thirty back, right, to the year 9999, before 1970.
jumps=630000000,-946000000,0,251600000000,-1900000000

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    shim=${KW_PROGRAM%/*}/tests/e2e/kw_clock_shim.so
    if [ ! -e "$shim" ] || ! LD_PRELOAD=$shim "$KW_PROGRAM" version >/dev/null 2>&1; then
        skip "the program can't be run with the shim"
    fi
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state # a trail of its own
}

# at JUMPS COMMAND...
at() { LD_PRELOAD=$shim KW_CLOCK=$1 "${@:2}"; }

trail_is_good() {
    expect 0 keyward audit verify --json
    [ "$(jq -r .verdict <<<"$output")" = good ]
}

@test "the shim jumps: the trail shows both centuries" {
    expect 0 at 0,3000000000 keyward key list --token "$KW_TEST_TOKEN"
    expect 0 at 3000000000 decrypt "$E2E/drop"
    expect 0 keyward audit show
    grep -q '^\(.* \)\?21[0-9][0-9]-' <<<"$output"
}

@test "a run under a clock that jumps is whole, and no duration is absurd" {
    for each in $jumps 251600000000,0 -1900000000,0,0 0,630000000; do
        rm -rf out r.json
        expect 0 at "$each" keyward decrypt "$E2E/drop" --out out --report r.json --jobs 4 \
            --token "$KW_TEST_TOKEN"
        whole
        jq -e '[.totals, .files[]] | all(.milliseconds >= 0 and .milliseconds < 60000)' r.json
        trail_is_good
    done
}

@test "a trail whose times go backwards is as good as another, and can be read by time" {
    for each in 630000000 -946000000 0 -1900000000 251600000000; do
        expect 0 at "$each" keyward cat "$E2E/drop" a.json --token "$KW_TEST_TOKEN"
    done
    trail_is_good
    expect 0 at "$jumps" keyward audit verify
    expect 0 keyward audit show --from 2040-01-01
    [ -n "$output" ]
    expect 0 keyward audit export --format syslog
}

@test "a run that was begun in another century is gone on with" {
    copy_drop
    for first in 630000000 -1900000000 251600000000; do
        truncate -s -16 drop/b.json
        expect 7 at "$first" decrypt drop
        cp "$E2E/drop/b.json" drop/b.json
        expect 0 at -700000000 decrypt drop --resume
        whole
        rm -r out
    done
    trail_is_good
}

@test "a deadline is none of the wall clock" {
    module=${KW_PROGRAM%/*}/tests/pkcs11/kw_fault_module.so
    [ -e "$module" ] || skip "the module with faults is not built"
    let_write_tokens
    export KW_FAULT_REAL_MODULE=$KW_TEST_MODULE
    printf '[token t]\nmodule = %s\nuri = pkcs11:token=keyward\npin-source = file:%s\ntimeout = 1\n' \
        "$module" "$KW_TEST_PIN_FILE" >keyward.conf
    local began=$SECONDS
    KW_FAULT_SCRIPT="C_Decrypt hang" expect 6 at "$jumps" keyward decrypt "$E2E/drop" --out out \
        --config keyward.conf --token t
    says "did not answer within 1 s"
    [ $((SECONDS - began)) -le 4 ]
    expect 0 at "$jumps" keyward decrypt "$E2E/drop" --out out --config keyward.conf --token t
}

@test "dates of keys and the time to purge follow the clock, and nothing breaks" {
    local today
    today=$(date -u +%Y-%m-%d)
    expect 0 keyward key create clock --expires "$today" --token "$KW_TEST_TOKEN"
    expect 0 at 630000000 keyward key list --json --token "$KW_TEST_TOKEN"
    jq -e '.keys[] | select(.label == "clock") | .expires_in_days < -7000' <<<"$output"
    expect 0 at -630000000 keyward key list --json --token "$KW_TEST_TOKEN"
    jq -e '.keys[] | select(.label == "clock") | .expires_in_days > 7000' <<<"$output"
    printf '[keys]\npurge-protection = yes\nretention-days = 7\n' >protect.conf
    expect 0 keyward key create kept --no-expiry --config protect.conf --token "$KW_TEST_TOKEN"
    expect 0 keyward key delete kept --config protect.conf --token "$KW_TEST_TOKEN"
    # Back in time it is not yet time; after the term it is.
    expect 5 at -946000000 keyward key purge kept --confirm kept --config protect.conf \
        --token "$KW_TEST_TOKEN"
    expect 0 at 900000 keyward key purge kept --confirm kept --config protect.conf \
        --token "$KW_TEST_TOKEN"
    trail_is_good
}
