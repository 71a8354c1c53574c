# inspect, cat, seal, key list, token list.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

json() { python3 -m json.tool >/dev/null; }

on_token() { keyward "$@" --token "$KW_TEST_TOKEN"; }

@test "inspect says what the drop is and unwraps nothing" {
    spied
    expect 0 keyward inspect "$E2E/drop" \
        --token "$(token_with "pin-source=file:$KW_TEST_PIN_FILE")"
    grep -q "$KW_KEY_ID" <<<"$output"
    grep -q 'sub/c.json' <<<"$output"
    [ "$(calls_of C_FindObjects)" -ge 1 ]
    [ "$(calls_of C_Decrypt)" -eq 0 ]
}

# calls_with COMMAND...: how often it searches the token and how often it reads of a key there.
calls_with() {
    rm -f calls
    keyward "$@" >/dev/null
    printf '%s %s' "$(calls_of C_FindObjectsInit)" "$(calls_of C_GetAttributeValue)"
}

@test "however many keys the token has, only the one that is asked for is read" {
    spied
    local i spied_token before=() after ways way
    keyward key create named --no-expiry --token "$KW_TEST_TOKEN" >/dev/null
    spied_token=$(token_with "pin-source=file:$KW_TEST_PIN_FILE")
    keyward seal "$E2E/src" --out drop --key named --token "$KW_TEST_TOKEN"
    ways=("inspect drop" "decrypt drop --out out --force" "inspect drop --key named"
        "inspect drop --key pkcs11:object=named")
    for way in "${ways[@]}"; do
        # shellcheck disable=SC2086 # words of a command
        before+=("$(calls_with $way --token "$spied_token")")
    done
    for i in 1 2 3; do
        keyward key create "other$i" --no-expiry --token "$KW_TEST_TOKEN" >/dev/null
    done
    for way in "${ways[@]}"; do
        # shellcheck disable=SC2086
        after=$(calls_with $way --token "$spied_token")
        printf '%s: %s, %s\n' "$way" "${before[0]}" "$after"
        [ "${before[0]}" = "$after" ]
        before=("${before[@]:1}")
    done
}

@test "a token that refuses to search by what is asked for shows all its keys instead" {
    local fault faulty answer
    fault=$(dirname "$KW_PROGRAM")/tests/pkcs11/kw_fault_module.so
    [ -e "$fault" ] || skip "the module with faults is not built beside the program"
    let_write_tokens "$PWD"
    export KW_FAULT_REAL_MODULE=$KW_TEST_MODULE KW_FAULT_LOG=$PWD/calls
    faulty=${KW_TEST_TOKEN/"$KW_TEST_MODULE"/"$fault"}
    # CKR_ATTRIBUTE_VALUE_INVALID; CKR_TEMPLATE_INCOMPLETE where there is no class
    for answer in 0x13 0xd0; do
        rm -rf out
        KW_FAULT_SCRIPT="C_FindObjectsInit answer $answer 1 1" \
            expect 0 keyward decrypt "$E2E/drop" --out out --token "$faulty"
        [ "$(grep -m 1 -c "^C_FindObjectsInit $answer\$" calls)" -eq 1 ]
        whole
    done
    KW_FAULT_SCRIPT='C_FindObjectsInit answer 0x13' \
        expect 6 keyward inspect "$E2E/drop" --token "$faulty"
    says CKR_ATTRIBUTE_VALUE_INVALID
}

@test "a key that is too short is refused by whatever it is asked for" {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --keypairgen --key-type rsa:1024 --label short --id 0102ff --usage-decrypt >/dev/null 2>&1 ||
        skip "the token makes no RSA key of 1024 bits"
    for name in short 0102ff pkcs11:object=short 'pkcs11:id=%01%02%ff'; do
        expect 5 on_token decrypt "$E2E/drop" --out out --key "$name"
        says '2048'
    done
}

@test "inspect works without a token, and as JSON" {
    HOME=$PWD XDG_CONFIG_HOME=$PWD expect 0 keyward inspect "$E2E/drop"
    grep -q "$KW_KEY_ID" <<<"$output"
    expect 0 on_token inspect "$E2E/drop" --json
    json <<<"$output"
}

@test "key list and token list, as JSON too" {
    expect 0 on_token key list
    grep -q e2e <<<"$output"
    grep -q "$KW_KEY_ID" <<<"$output"
    expect 0 on_token key list --json
    json <<<"$output"
    expect 0 on_token token list
    grep -q keyward <<<"$output"
    expect 0 on_token token list --json
    json <<<"$output"
}

@test "cat writes one file and nothing else" {
    on_token cat "$E2E/drop" sub/c.json >c.json
    cmp "$E2E/src/sub/c.json" c.json
    on_token cat "$E2E/drop" ./a.json >a.json
    cmp "$E2E/src/a.json" a.json
}

@test "cat of a damaged file says so with exit 7" {
    copy_drop
    damage drop/b.json
    expect 7 on_token cat drop b.json
    says b.json
}

@test "cat of a file that is not there, or outside of the drop, is exit 4" {
    echo secret >outside.json
    copy_drop
    ln -s ../outside.json drop/link.json
    for path in none.json ../outside.json "$PWD/outside.json" link.json sub metadata \
        sub/../../outside.json ''; do
        expect 4 on_token cat drop "$path"
        [ -z "$output" ]
    done
}

cat_to_closed_pipe() {
    on_token cat big big.txt | true
    return "${PIPESTATUS[0]}"
}

@test "cat of a file that is not encrypted says so with exit 4 and writes nothing" {
    copy_drop
    cp "$E2E/src/b.json" drop/b.json
    expect 4 keyward cat drop b.json --token "$KW_TEST_TOKEN"
    says 'not encrypted'
    [ -z "$output" ]
}

@test "cat to a pipe that was closed is exit 8, not a signal" {
    seq 200000 >big.txt
    expect 0 on_token seal big.txt --out big --key pkcs11:object=e2e
    expect 8 cat_to_closed_pipe
}

cat_to_full() { on_token cat "$E2E/drop" a.json >/dev/full; }

@test "cat to a full device is exit 8" {
    [ -e /dev/full ] || skip "there is no /dev/full"
    expect 8 cat_to_full
}

@test "what is printed to a full device is a failure too" {
    [ -e /dev/full ] || skip "there is no /dev/full"
    # shellcheck disable=SC2016 # for the inner shell
    expect 8 bash -c '"$@" >/dev/full' - "$KW_PROGRAM" key list --json --token "$KW_TEST_TOKEN"
}

round_trip() {
    local drop=$1
    shift
    expect 0 on_token seal "$@" --out "$drop"
    expect 0 keyward decrypt "$drop" --out "$drop.plain" --token "$KW_TEST_TOKEN"
}

@test "seal and decrypt give the same bytes: odd sizes" {
    mkdir -p src/deep/er
    for size in 0 1 15 16 17 4095 4096 65535 65536 65537 262144 262145 1048576; do
        head -c "$size" /dev/urandom >"src/deep/er/$size"
    done
    printf '\xef\xbb\xbfbom' >'src/a name with spaces.json'
    printf 'x' >src/ümläut.json
    round_trip drop src --key pkcs11:object=e2e
    diff -r src drop.plain
}

@test "seal to a public key file" {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --read-object --type pubkey \
        --id "$KW_KEY_ID" >key.der 2>/dev/null
    openssl pkey -pubin -inform DER -in key.der -out key.pem
    round_trip drop "$E2E/src" --public-key key.pem --key-version "$KW_KEY_ID"
    diff -r "$E2E/src" drop.plain
    expect 2 keyward seal "$E2E/src" --out other --public-key key.pem
    [ ! -e other/metadata ]
    # Not a folder with anything in it, and not beside a file that is sealed.
    mkdir used && touch used/x
    expect 8 on_token seal "$E2E/src" --out used --key pkcs11:object=e2e
    cp -r "$E2E/src" src
    expect 8 on_token seal src/a.json --out src --key pkcs11:object=e2e
    diff -r src "$E2E/src"
}

@test "cat that waits for a reader ends at once when it is told to, with 130" {
    mkfifo pipe
    head -c 3000000 /dev/zero | tr '\0' 'x' >big.json
    on_token seal big.json --out bigdrop --key pkcs11:object=e2e --compress none
    bash -c 'exec <pipe; exec sleep 20' &
    reader=$!
    "$KW_PROGRAM" cat bigdrop big.json --token "$KW_TEST_TOKEN" >pipe &
    writer=$!
    sleep 1
    kill -TERM "$writer"
    code=0
    wait "$writer" || code=$?
    kill "$reader"
    [ "$code" -eq 130 ]
}

@test "the published samples come back byte for byte" {
    local samples=${KW_SHARED_DIR:-$BATS_TEST_DIRNAME/../../../shared}/datasets
    [ -d "$samples" ] || skip "the shared samples are not here"
    round_trip drop "$samples" --key pkcs11:object=e2e
    diff -r "$samples" drop.plain
}

@test "what was sealed is not readable, and twice the same is different" {
    round_trip one "$E2E/src" --key pkcs11:object=e2e
    round_trip two "$E2E/src" --key pkcs11:object=e2e
    refute cmp -s one/a.json two/a.json
    refute grep -q -a 'first file' one/a.json
}

@test "seal does not write over a drop, nor seal one" {
    round_trip drop "$E2E/src" --key pkcs11:object=e2e
    cp -r drop before
    expect 8 on_token seal "$E2E/src" --out drop --key pkcs11:object=e2e
    diff -r before drop
    expect 4 on_token seal drop --out other --key pkcs11:object=e2e
    expect 5 on_token seal "$E2E/src" --out other --key nonesuch
    [ ! -e other/metadata ]
}
