# PINs and where they come from; modules and tokens that are not there.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

@test "a wrong PIN is exit 3 and is sent once" {
    spied
    printf 'wrong-pin-1\n' >pin
    chmod 600 pin
    expect 3 keyward decrypt "$E2E/drop" --out out --jobs 4 \
        --token "$(token_with "pin-source=file:$PWD/pin")"
    says PIN
    [ "$(calls_of C_Login)" -eq 1 ]
    refute grep -q wrong-pin-1 <<<"$output$stderr"
    assert_no_files out
}

@test "a right PIN is sent once for a whole run" {
    spied
    expect 0 keyward decrypt "$E2E/drop" --out out --jobs 4 \
        --token "$(token_with "pin-source=file:$KW_TEST_PIN_FILE")"
    [ "$(calls_of C_Login)" -eq 1 ]
}

@test "nothing is unwrapped twice in a run" {
    spied
    expect 0 keyward decrypt "$E2E/drop" --out out --jobs 4 --unwrap-alg RSA-OAEP \
        --token "$(token_with "pin-source=file:$KW_TEST_PIN_FILE")"
    [ "$(calls_of C_Decrypt)" -eq 1 ]
}

@test "a PIN file that is missing or empty is exit 3" {
    expect 3 decrypt_with "pin-source=file:$PWD/none"
    says "$PWD/none"
    : >empty
    chmod 600 empty
    expect 3 decrypt_with "pin-source=file:$PWD/empty"
    printf '\nsecond line\n' >empty
    expect 3 decrypt_with "pin-source=file:$PWD/empty"
    assert_no_files out
}

decrypt_with() { keyward decrypt "$E2E/drop" --out out --token "$(token_with "$1")"; }

@test "PIN source file:, with and without a newline" {
    printf '%s' "$KW_PIN" >pin
    chmod 600 pin
    expect 0 decrypt_with "pin-source=file:$PWD/pin"
    diff -r "$E2E/src" out
    rm -r out
    printf '%s\nother line\n' "$KW_PIN" >pin
    expect 0 decrypt_with "pin-source=$PWD/pin"
    diff -r "$E2E/src" out
}

@test "a PIN file that others can read is warned of" {
    printf '%s\n' "$KW_PIN" >pin
    chmod 644 pin
    expect 0 decrypt_with "pin-source=file:$PWD/pin"
    warns 'chmod'
}

decrypt_with_fd() { decrypt_with pin-source=fd:9 9<"$KW_TEST_PIN_FILE"; }

@test "PIN source fd:" {
    expect 0 decrypt_with_fd
    diff -r "$E2E/src" out
    rm -r out
    expect 3 decrypt_with pin-source=fd:x
    expect 3 decrypt_with pin-source=fd:987
    assert_no_files out
}

@test "PIN source env: works and is warned of" {
    MY_PIN=$KW_PIN expect 0 decrypt_with pin-source=env:MY_PIN
    warns MY_PIN
    diff -r "$E2E/src" out
    rm -r out
    unset MY_PIN
    expect 3 decrypt_with pin-source=env:MY_PIN
    says MY_PIN
}

@test "PIN source credential:, and the default credential" {
    mkdir credentials
    install -m 600 "$KW_TEST_PIN_FILE" credentials/hsm
    CREDENTIALS_DIRECTORY=$PWD/credentials expect 0 decrypt_with pin-source=credential:hsm
    diff -r "$E2E/src" out
    rm -r out
    expect 3 decrypt_with pin-source=credential:hsm
    says CREDENTIALS_DIRECTORY
    CREDENTIALS_DIRECTORY=$PWD/credentials expect 3 decrypt_with pin-source=credential:../hsm
    assert_no_files out
}

@test "the prompt takes the PIN without showing it" {
    run tool prompt "$KW_PIN" "$KW_PROGRAM" decrypt "$E2E/drop" --out out --no-progress \
        --token "pkcs11:token=keyward?module-path=$KW_TEST_MODULE"
    [ "$status" -eq 0 ]
    grep -q 'PIN.*keyward' <<<"$output"
    refute grep -q -F "$KW_PIN" <<<"$output"
    diff -r "$E2E/src" out
}

@test "a wrong PIN at the prompt is not asked for again" {
    run tool prompt wrong-pin-2 "$KW_PROGRAM" decrypt "$E2E/drop" --out out --no-progress \
        --token "pkcs11:token=keyward?module-path=$KW_TEST_MODULE"
    [ "$status" -eq 3 ]
    refute grep -q wrong-pin-2 <<<"$output"
    assert_no_files out
}

no_terminal() { setsid -w "$@" </dev/null; }

@test "no PIN source and no terminal is exit 3" {
    expect 3 no_terminal "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "pkcs11:token=keyward?module-path=$KW_TEST_MODULE"
    says 'pin-source'
}

@test "a PIN in the URI works, is warned of, and leaves the argument list" {
    expect 0 decrypt_with "pin-value=$KW_PIN"
    warns PIN
    refute grep -q -F "$KW_PIN" <<<"$output$stderr"
    seq 200000 >big.txt
    expect 0 keyward seal big.txt --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    expect 0 tool cmdline "$KW_PIN" "$KW_PROGRAM" cat big big.txt \
        --token "$(token_with "pin-value=$KW_PIN")"
}

@test "the PIN is in no report and no output" {
    expect 0 decrypt "$E2E/drop" --report report.json --json
    refute grep -q -F "$KW_PIN" report.json
    refute grep -q -F "$KW_PIN" <<<"$output$stderr"
}

@test "a module that is not there, or is none, is exit 6" {
    local where="token=keyward"
    expect 6 keyward key list --token "pkcs11:$where?module-path=$PWD/none.so"
    says "none.so"
    printf 'no module\n' >none.so
    expect 6 keyward key list --token "pkcs11:$where?module-path=$PWD/none.so"
    says "none.so"
}

@test "a token that is not there is exit 6, and those that are there are listed" {
    expect 6 keyward decrypt "$E2E/drop" --out out \
        --token "pkcs11:token=nonesuch?module-path=$KW_TEST_MODULE&pin-source=file:/none"
    says nonesuch
    says keyward
    assert_no_files out
}

@test "a URI that is wrong is refused before the token is touched" {
    for uri in 'pkcs11:token=a;token=b' 'pkcs11:colour=blue' 'pkcs11:slot-id=0' \
        'pkcs11:token=%' 'pkcs11:pin-value=1234' 'pkcs11:token=keyward?module-path=x.so'; do
        run --separate-stderr keyward key list --token "$uri"
        [ "$status" -eq 2 ] || [ "$status" -eq 3 ]
        says '^keyward: '
    done
}

@test "no token named anywhere says how to name one" {
    HOME=$PWD XDG_CONFIG_HOME=$PWD run --separate-stderr keyward decrypt "$E2E/drop" --out out
    [ "$status" -eq 2 ] || [ "$status" -eq 3 ]
    says -- '--token'
    assert_no_files out
}
