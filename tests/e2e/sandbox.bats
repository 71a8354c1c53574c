# shellcheck disable=SC2154 # run sets output, stderr and status
# Confinement: what hostile code in the process still gets to, and that its absence is on record.
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export XDG_STATE_HOME=$BATS_TEST_TMPDIR/state XDG_CONFIG_HOME=$BATS_TEST_TMPDIR/config
    mkdir -p beside module config/keyward
    echo secret >beside/file
    hostile=$(dirname "$KW_PROGRAM")/tests/e2e/kw_hostile_module.so
    python3 -c '
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)' >port 3>&- &
    server=$!
    while [ ! -s port ]; do sleep 0.05; done
    KW_ATTACK_PORT=$(cat port)
    export KW_ATTACK_PORT KW_ATTACK_FILE=$PWD/beside/file KW_ATTACK_REAL_MODULE=$KW_TEST_MODULE
}

teardown() { kill "$server" 2>/dev/null || true; }

# confined: otherwise there is nothing to be seen here.
confined() {
    python3 -c '
import ctypes, sys
abi = ctypes.CDLL(None).syscall(444, None, 0, 1)
sys.exit(abi < 1)' || skip "the kernel has no Landlock"
}

# named NAME: the token behind the hostile module in a file of that name.
named() {
    [ -e "$hostile" ] || skip "the hostile module is not built"
    cp "$hostile" "module/$1"
    token=${KW_TEST_TOKEN/"$KW_TEST_MODULE"/"$PWD/module/$1"}
}

# attacked [OPTION...]: lists keys with the hostile module; what it got to is in got.
attacked() { keyward key list --token "$token" "$@" >keys 9>got; }

settings() { printf '%s\n' '[sandbox]' "$@" >config/keyward/keyward.conf; }
reached() { [ "$(tr '\n' ' ' <got)" = "$1 " ] || { cat got && return 1; }; }

everything='read done write done tcp done unix done program done'

@test "a module that reads another file, connects or starts a program is stopped" {
    confined
    named libsofthsm2.so
    attacked
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
    [ ! -e beside/file.taken ]
    grep -q e2e keys
    keyward token list --module "$PWD/module/libsofthsm2.so" >tokens 9>got
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
    grep -q keyward tokens
}

@test "the same module gets to all of that without the sandbox" {
    named libsofthsm2.so
    attacked --no-sandbox
    reached "$everything"
    [ -e beside/file.taken ]
    settings 'enabled = no'
    attacked
    reached "$everything"
}

@test "a module that is not known may connect, and [sandbox] says otherwise" {
    confined
    named unknown.so
    tokens=$(dirname "$SOFTHSM2_CONF")
    settings "write = $tokens"
    attacked
    reached 'read EACCES write EACCES tcp done unix done program EPERM'
    settings "write = $tokens" 'network = unix'
    attacked
    reached 'read EACCES write EACCES tcp EPERM unix done program EPERM'
    settings "write = $tokens" 'network = none'
    attacked
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
    settings "write = $tokens" "read = /nowhere:$PWD/beside"
    attacked
    reached 'read done write EACCES tcp done unix done program EPERM'
    # Without its configuration and tokens it has no token, and no secret is told.
    settings 'network = none'
    expect 6 attacked
}

@test "hostile code in a stage is stopped while it reads the drop, and not without the sandbox" {
    confined
    need_shim
    with_shim attack:9:1:a.json "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "$KW_TEST_TOKEN" 9>got
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
    whole
    with_shim attack:9:1:a.json "$KW_PROGRAM" decrypt "$E2E/drop" --out out2 --no-sandbox \
        --token "$KW_TEST_TOKEN" 9>got
    reached "$everything"
}

@test "hostile code in what reads the metadata is stopped before the token is reached" {
    confined
    need_shim
    with_shim attack:9:1:encryptionKeyDetails "$KW_PROGRAM" inspect "$E2E/drop" 9>got >/dev/null
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
}

@test "hostile code in what verifies the trail or reads a transfer file is stopped" {
    confined
    need_shim
    expect 0 decrypt "$E2E/drop"
    with_shim attack:9:1:trail- "$KW_PROGRAM" audit show 9>got >/dev/null
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
    echo '{}' >file.byok
    expect 4 with_shim attack:9:1:file.byok "$KW_PROGRAM" byok inspect file.byok 9>got
    reached 'read EACCES write EACCES tcp EPERM unix EPERM program EPERM'
}

@test "that a run is not confined is on the trail, before all that it does" {
    expect 0 decrypt "$E2E/drop" --no-sandbox
    expect 0 keyward audit show
    grep -E -A1 'sandbox +not confined, as --no-sandbox says' <<<"$output" | grep -q 'unwrap intent'
    settings 'enabled = no'
    expect 0 keyward cat "$E2E/drop" a.json --token "$KW_TEST_TOKEN"
    expect 0 keyward audit show
    grep -E -A1 'sandbox +not confined, as enabled = no in \[sandbox\] says' <<<"$output" |
        grep -q 'unwrap intent'
    expect 0 keyward audit verify
}

@test "a run that is confined puts no such record on the trail" {
    confined
    expect 0 decrypt "$E2E/drop"
    expect 0 keyward audit show
    refute grep -q sandbox <<<"$output"
}

@test "a kernel without Landlock is warned of, and is on the trail" {
    expect 0 tool without-landlock "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "$KW_TEST_TOKEN"
    warns 'confined in part, as the kernel has no Landlock'
    whole
    expect 0 keyward audit show
    grep -E -A1 'sandbox +confined in part, as the kernel has no Landlock' <<<"$output" |
        grep -q 'unwrap intent'
    settings 'required = yes'
    expect 3 tool without-landlock "$KW_PROGRAM" decrypt "$E2E/drop" --out out2 \
        --token "$KW_TEST_TOKEN"
    says 'required = yes'
    assert_no_files out2
}

@test "where it is required, nothing runs without it: exit 3" {
    settings 'required = yes'
    expect 3 decrypt "$E2E/drop" --no-sandbox
    says 'required = yes'
    assert_no_files out
    expect 3 keyward audit show "$PWD" --no-sandbox
    settings 'required = yes' 'enabled = no'
    expect 3 decrypt "$E2E/drop"
    settings 'required = yes'
    confined
    expect 0 decrypt "$E2E/drop"
}

@test "a folder that is made for the output goes again where nothing comes of it" {
    mkdir empty
    expect 4 keyward decrypt empty --out out --token "$KW_TEST_TOKEN"
    [ ! -e out ]
    expect 4 keyward decrypt empty --out "$PWD/out/" --token "$KW_TEST_TOKEN"
    [ ! -e out ]
}
