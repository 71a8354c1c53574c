# shellcheck shell=bash
# Made once for all files: a key pair on the token, a folder of plain files, and the drop sealed
# from it. Needs KW_PROGRAM and the environment of tests/tokens/with-softhsm.

setup_suite() {
    export KW_PIN KW_KEY_ID E2E=$BATS_SUITE_TMPDIR
    KW_PIN=$(cat "$KW_TEST_PIN_FILE")
    KW_KEY_ID=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --keypairgen --key-type rsa:2048 --label e2e --id "$KW_KEY_ID" --usage-decrypt >/dev/null

    mkdir -p "$E2E/src/sub"
    seq -f '{"id":"a-%.0f","text":"the first file"}' 2000 >"$E2E/src/a.json"
    seq -f '{"id":"b-%.0f","text":"the second file"}' 2000 >"$E2E/src/b.json"
    seq -f '{"id":"c-%.0f","text":"the third file"}' 2000 >"$E2E/src/sub/c.json"
    "$KW_PROGRAM" seal "$E2E/src" --out "$E2E/drop" --token "$KW_TEST_TOKEN" \
        --key pkcs11:object=e2e
}
