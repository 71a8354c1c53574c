# shellcheck disable=SC2154 # run sets output, stderr and status
# A module that hangs: the run ends, by itself, soon after the deadline.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    module=$KW_TEST_MODULE
    if [ "$KW_TEST_TOKEN_KIND" = softhsm ]; then
        module=$(dirname "$KW_PROGRAM")/tests/pkcs11/kw_fault_module.so
        [ -e "$module" ] || skip "the module with faults is not built"
    fi
    export KW_FAULT_REAL_MODULE=$KW_TEST_MODULE
    let_write_tokens
    printf '[token t]\nmodule = %s\nuri = pkcs11:token=keyward\npin-source = file:%s\ntimeout = 1\n' \
        "$module" "$KW_TEST_PIN_FILE" >keyward.conf
}

softhsm_only() { [ "$KW_TEST_TOKEN_KIND" = softhsm ] || skip "needs the module with faults"; }
p11kit_only() { [ "$KW_TEST_TOKEN_KIND" = p11-kit ] || skip "needs a server of p11-kit's"; }

configured() { keyward "$@" --config keyward.conf --token t; }

# in_time SECONDS WORDS COMMAND...: exit 6, a sentence with these words, in so many seconds and two.
in_time() {
    local limit=$1 words=$2 began=$SECONDS
    shift 2
    expect 6 configured "$@"
    says "$words did not answer within $limit s; "
    [ $((SECONDS - began)) -le $((limit + 2)) ] || {
        printf 'it took %d s\n' $((SECONDS - began))
        return 1
    }
}

@test "decrypting ends in whatever function the module hangs" {
    softhsm_only
    local call words
    while read -r call words; do
        KW_FAULT_SCRIPT="$call hang" in_time 1 "$words" decrypt "$E2E/drop" --out out
        assert_no_files out
    done <<'CALLS'
C_Initialize the PKCS#11 module .*kw_fault_module.so
C_GetSlotList the PKCS#11 module .*kw_fault_module.so
C_OpenSession the token "keyward"
C_Login the token "keyward"
C_FindObjects the token "keyward"
C_GetAttributeValue the token "keyward"
C_DecryptInit the token "keyward"
C_Decrypt the token "keyward"
CALLS
    configured decrypt "$E2E/drop" --out out
    diff -r "$E2E/src" out
}

@test "a module that hangs at its end does not keep the run, nor its output" {
    softhsm_only
    local began=$SECONDS
    KW_FAULT_SCRIPT="C_Finalize hang" configured decrypt "$E2E/drop" --out out
    [ $((SECONDS - began)) -le 3 ]
    diff -r "$E2E/src" out
}

@test "lists of tokens and keys end" {
    softhsm_only
    KW_FAULT_SCRIPT="C_GetTokenInfo hang" in_time 1 'the PKCS#11 module .*kw_fault_module.so' token list
    KW_FAULT_SCRIPT="C_FindObjectsInit hang" in_time 1 'the token "keyward"' key list
    KW_FAULT_SCRIPT="C_FindObjectsInit hang" expect 6 configured key list --json
    jq -e '.error.message | test("did not answer within 1 s")' <<<"$output"
}

@test "making a key is waited for ten times as long, and what may be left is said" {
    softhsm_only
    KW_FAULT_SCRIPT="C_GenerateKeyPair hang" in_time 10 'the token "keyward"' key create hanging --no-expiry
    says 'delete what has the id'
    configured key list --json >keys
    refute grep -q hanging keys
}

@test "SIGINT and SIGTERM reach the program while the module hangs" {
    softhsm_only
    sed -i 's/^timeout = .*/timeout = 60/' keyward.conf
    local signal
    for signal in INT TERM; do
        KW_FAULT_SCRIPT="C_Decrypt hang" "$KW_PROGRAM" decrypt "$E2E/drop" --out out --config keyward.conf \
            --token t 2>said &
        local pid=$!
        sleep 1
        kill -s "$signal" $pid
        sleep 0.2
        kill -s "$signal" $pid # the second one ends it at once
        wait $pid || code=$?
        [ "$code" -gt 128 ]
        assert_no_files out
    done
}

@test "a server that is stopped is waited for until the deadline, and works when it goes on" {
    p11kit_only
    local server
    server=$(cat "$(dirname "$KW_TEST_PIN_FILE")/server.pid")
    configured decrypt "$E2E/drop" --out before
    kill -STOP "$server"
    in_time 1 'the PKCS#11 module .*p11-kit-client.so' decrypt "$E2E/drop" --out out || {
        kill -CONT "$server"
        return 1
    }
    assert_no_files out
    kill -CONT "$server"
    configured decrypt "$E2E/drop" --out out
    diff -r "$E2E/src" out
}

@test "a watch ends where a call hangs for too long" {
    softhsm_only
    echo 'give-up = 2' >>keyward.conf
    mkdir inbox
    cp -R "$E2E/drop" inbox/one
    touch inbox/one/_SUCCESS
    local began=$SECONDS
    KW_FAULT_SCRIPT="C_FindObjects hang" expect 6 timeout 60 "$KW_PROGRAM" watch inbox --out out \
        --marker _SUCCESS --config keyward.conf --token t
    says 'has not come back in 2 s after its timeout'
    [ $((SECONDS - began)) -le 20 ]
    [ -d inbox/one ]
    assert_no_files out
}
