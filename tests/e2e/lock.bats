# A token that locks after three wrong PINs: opencryptoki's, made for this run.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    if [ "$KW_TEST_TOKEN_KIND" != opencryptoki ] || [ -z "${KW_TEST_TOKEN_PRIVATE:-}" ]; then
        skip "needs an opencryptoki token that may be locked"
    fi
    cd "$BATS_TEST_TMPDIR" || return
}

try() {
    printf '%s\n' "$1" >pin
    chmod 600 pin
    keyward key list --token "$(token_with "pin-source=file:$PWD/pin")"
}

flags() {
    pkcs11-tool --module "$KW_TEST_MODULE" --list-slots | grep 'token flags'
}

@test "a wrong PIN is never sent twice, and none when one more would lock the token" {
    expect 3 try 1111111
    expect 3 try 2222222
    flags | grep -q 'final user PIN try'
    # Not even the right one: a program cannot know that it is right.
    expect 3 try "$KW_PIN"
    expect 3 try 3333333
    refute grep -q 'user PIN locked' <<<"$(flags)"
    # A person decides: with another tool the right PIN still works, and resets the count.
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN -O
    expect 0 try "$KW_PIN"
}

@test "a locked PIN is exit 3 and says so" {
    local wrong=9999999
    for _ in 1 2 3; do
        WRONG=$wrong pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login \
            --pin env:WRONG -O || true
    done
    flags | grep -q 'user PIN locked'
    expect 3 try "$KW_PIN"
    says lock
}
