# shellcheck shell=bash
# Loaded by every file of tests here.

bats_require_minimum_version 1.5.0

# refute COMMAND...: it fails. A plain "! COMMAND" would end no test.
refute() {
    if "$@"; then
        printf 'this did not fail: %s\n' "$*"
        return 1
    fi
}

# Where the token is reached with a PIN source of the test's choosing.
token_with() { printf 'pkcs11:token=keyward?module-path=%s&%s' "$KW_TEST_MODULE" "$1"; }

# let_write FOLDER...: a module that the program does not know may read and write there. Such a
# module is one that a test puts in front of another.
let_write() {
    export XDG_CONFIG_HOME=$BATS_TEST_TMPDIR/config
    mkdir -p "$XDG_CONFIG_HOME/keyward"
    printf '[sandbox]\nwrite = %s\n' "$(IFS=: && printf '%s' "$*")" \
        >"$XDG_CONFIG_HOME/keyward/keyward.conf"
}
let_write_tokens() { [ -z "${SOFTHSM2_CONF-}" ] || let_write "$(dirname "$SOFTHSM2_CONF")" "$@"; }

# spied: the same token through OpenSC's module that writes each call to the file calls.
spied() {
    local spy
    spy=$(find /usr/lib /usr/lib64 -name pkcs11-spy.so 2>/dev/null | head -n 1)
    [ -n "$spy" ] || skip "pkcs11-spy.so is not installed"
    export PKCS11SPY=$KW_TEST_MODULE PKCS11SPY_OUTPUT=$BATS_TEST_TMPDIR/calls
    export ASAN_OPTIONS=detect_leaks=0 # it leaks
    let_write_tokens "$BATS_TEST_TMPDIR"
    KW_TEST_MODULE=$spy
}
calls_of() { grep -c "^[0-9]*: $1\$" calls || true; }

# SoftHSM2 writes token.object anew, in place, in each login: killed at that moment it leaves half of
# it, and the token is lost. It is kept before a kill, and put back after it.
token_objects() {
    [ -z "${SOFTHSM2_CONF-}" ] || find "$(sed -n 's/^directories.tokendir = //p' "$SOFTHSM2_CONF")" \
        -name "$1" "${@:2}"
}
keep_token() { token_objects token.object -exec cp {} {}.kept \;; }
give_token_back() {
    token_objects token.object.kept -execdir cp {} token.object \;
}

keyward() { "$KW_PROGRAM" "$@"; }

# decrypt DROP [OPTION...]: to a folder out in the test's own scratch folder.
decrypt() { keyward decrypt "$@" --out out --token "$KW_TEST_TOKEN"; }

# until_true COMMAND...: within 20 seconds; with watch.log where not.
until_true() {
    local i
    for ((i = 0; i < 200; i++)); do
        if "$@" >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.1
    done
    printf 'this did not come true: %s\n' "$*"
    tail -n 20 watch.log
    return 1
}

# shellcheck disable=SC2154 # run sets output, stderr and status
# expect CODE COMMAND...: the exit code, and for a failure an error on standard error.
# Leaves $output and $stderr.
expect() {
    local code=$1
    shift
    run --separate-stderr -"$code" "$@"
    if [ "$code" -ne 0 ]; then
        grep -v '^keyward: warning: ' <<<"$stderr" | grep -q '^keyward: ' || {
            printf 'no line of standard error is an error of keyward:\n%s\n' "$stderr"
            return 1
        }
    fi
}

# says PATTERN: standard error has it.
says() {
    grep -q -e "$1" <<<"$stderr" || {
        printf 'standard error has no "%s":\n%s\n' "$1" "$stderr"
        return 1
    }
}

warns() { says "^keyward: warning: .*$1"; }

tool() { python3 "$BATS_TEST_DIRNAME/tool.py" "$@"; }

# A copy of the sealed drop for the test to change.
copy_drop() { cp -r "$E2E/drop" drop; }

# damage FILE: one byte in its middle is another.
damage() { tool damage "$1"; }

# Nothing that was made is in the folder, whatever its name.
assert_no_files() {
    [ ! -e "$1" ] || [ -z "$(find "$1" ! -type d)" ]
}

# out is what the sealed drop gives, and nothing else.
whole() {
    diff -r "$E2E/src" out
    [ ! -e out/.keyward-journal ]
}

# A sanitizer wants to be the first to be loaded.
need_shim() {
    shim=${KW_PROGRAM%/*}/tests/e2e/kw_io_shim.so
    if [ ! -e "$shim" ] || ! LD_PRELOAD=$shim "$KW_PROGRAM" version >/dev/null 2>&1; then
        skip "the program can't be run with the shim"
    fi
}

# with_shim WHAT COMMAND...: with the shim in front of the C library, as io_shim.c says.
with_shim() {
    LD_PRELOAD=$shim KW_SHIM=$1 "${@:2}"
}

# As root, permissions hold for no one; without these capabilities they do.
as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --bounding-set=-dac_override,-dac_read_search,-fowner "$@"
    else
        "$@"
    fi
}

setup() { cd "$BATS_TEST_TMPDIR" || return; }
