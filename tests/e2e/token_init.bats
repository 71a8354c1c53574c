# A SoftHSM2 token for trials, made in a folder of the test's own.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    mkdir tokens
    printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' \
        "$PWD" >softhsm2.conf
    export SOFTHSM2_CONF=$PWD/softhsm2.conf
    (umask 077 && echo user-pin-77 >pin && echo officer-pin-88 >so-pin)
    run --separate-stderr keyward token init trial --pin-source env:NONE --so-pin-source env:NONE
    if grep -q 'none of the usual places' <<<"$stderr"; then
        skip "SoftHSM2's module is not there"
    fi
}

init() { keyward token init "$@" --pin-source "file:$PWD/pin" --so-pin-source "file:$PWD/so-pin"; }
no_token() { [ -z "$(ls -A tokens)" ]; }

@test "token init makes a token whose URI is enough to make a key and unwrap with it" {
    expect 0 init 'first trial'
    [ -z "$stderr" ]
    uri=$output
    [[ $uri == 'pkcs11:token=first%20trial?module-path=/'*"&pin-source=file:$PWD/pin" ]]
    refute grep -q -e user-pin -e officer-pin <<<"$uri"
    expect 0 keyward token list --token "$uri"
    grep -q -E '^  first trial .*initialized' <<<"$output"
    expect 0 keyward key create mine --no-expiry --token "$uri"
    expect 0 keyward seal "$E2E/src" --out drop --key mine --token "$uri"
    expect 0 keyward decrypt drop --out out --key mine --token "$uri"
    diff -r "$E2E/src" out
    # One more beside it, and its own PIN.
    echo another-pin >pin2
    chmod 600 pin2
    expect 0 keyward token init second --pin-source "$PWD/pin2" --so-pin-source "$PWD/so-pin"
    expect 0 keyward key list --token "$output"
    expect 3 keyward key list --token "${output%&*}&pin-source=file:$PWD/pin"
}

@test "a label that is taken is exit 8, and that token stays as it is" {
    expect 0 init trial
    uri=$output
    keyward key create mine --no-expiry --token "$uri"
    expect 8 init trial
    says 'already'
    expect 0 keyward key show mine --token "$uri"
    [ "$(find tokens -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
}

@test "PINs that are missing or have a wrong length are exit 3, and no token is made" {
    expect 3 keyward token init trial --pin-source env:NONE --so-pin-source "file:$PWD/so-pin"
    expect 3 keyward token init trial --pin-source "file:$PWD/pin" --so-pin-source "file:$PWD/none"
    expect 3 keyward token init trial --pin-source nonsense --so-pin-source "file:$PWD/so-pin"
    echo 123 >pin
    expect 3 init trial
    says '4 to 255'
    refute grep -q 123 <<<"$stderr"
    no_token
}

@test "PINs from the environment and descriptors are taken, and are in no URI" {
    SO=officer-pin-88 expect 0 keyward token init trial --pin-source fd:3 --so-pin-source env:SO 3<pin
    warns SO
    refute grep -q pin-source <<<"$output"
    expect 0 keyward key list --token "$output&pin-source=file:$PWD/pin"
}

@test "PINs are asked for twice on a terminal" {
    run tool prompt 'officer-pin-88 officer-pin-88 user-pin-77 user-pin-77' "$KW_PROGRAM" token init trial
    [ "$status" -eq 0 ]
    refute grep -q -e user-pin -e officer-pin <<<"$output"
    uri=$(grep -o 'pkcs11:[^[:space:]]*' <<<"$output")
    expect 0 keyward key list --token "$uri&pin-source=file:$PWD/pin"
    run tool prompt 'officer-pin-88 officer-pin-99' "$KW_PROGRAM" token init other
    [ "$status" -eq 3 ]
    grep -q differ <<<"$output"
    run tool prompt 'user-pin-77 user-pin-78' "$KW_PROGRAM" token init other \
        --so-pin-source "file:$PWD/so-pin"
    [ "$status" -eq 3 ]
    expect 3 setsid -w "$KW_PROGRAM" token init other </dev/null
    says 'pin-source'
    [ "$(find tokens -mindepth 1 -maxdepth 1 | wc -l)" -eq 1 ]
}

@test "a label that is none is exit 2" {
    for label in '' ' x' 'x ' "$(printf 'a\tb')" 123456789012345678901234567890123; do
        expect 2 init "$label"
    done
    expect 2 init
    no_token
}

@test "other modules are not initialised, and the command to use is named" {
    for module in libsoftokn3.so:certutil libopencryptoki.so:pkcsconf libtpm2_pkcs11.so:tpm2_ptool; do
        path=$(find /usr/lib /usr/lib64 -name "${module%:*}" 2>/dev/null | head -n 1)
        [ -n "$path" ] || continue
        expect 2 init trial --module "$path"
        says "${module#*:}"
    done
    expect 6 init trial --module "$PWD/none.so"
    expect 3 init trial --module none.so
    no_token
}

@test "a folder that can't be written to is exit 6" {
    chmod 500 tokens
    expect 6 as_user "$KW_PROGRAM" token init trial --pin-source "file:$PWD/pin" \
        --so-pin-source "file:$PWD/so-pin"
    no_token
}
