# Disks that fail, and drops from hostile hands.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

# What a test started ends with it.
teardown() { touch "$BATS_TEST_TMPDIR/stop"; }

# ---- failures that pass ----

@test "EIO once or twice, in reading or writing: the file is done again, with a warning" {
    need_shim
    for fault in read:5:1:drop/b.json read:5:2:drop/b.json write:5:1:out/sub read:110:2:drop/a.json \
        write:116:2:out/sub; do
        rm -rf out
        expect 0 with_shim "$fault" "$KW_PROGRAM" decrypt "$E2E/drop" --out out --report r.json \
            --force --jobs 1 --token "$KW_TEST_TOKEN"
        warns 'done again'
        whole
    done
}

@test "EIO for good is exit 8 after three tries, and the others are whole" {
    need_shim
    expect 8 with_shim read:5:99:drop/b.json "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "$KW_TEST_TOKEN"
    [ "$(grep -c 'done again' <<<"$stderr")" -eq 2 ]
    [ ! -e out/b.json ]
    cmp out/a.json "$E2E/src/a.json"
    expect 0 decrypt "$E2E/drop" --resume
    whole
}

@test "a full disk, a missing permission and damaged data are not tried again" {
    need_shim
    expect 8 with_shim write:28:1:out/sub "$KW_PROGRAM" decrypt "$E2E/drop" --out out --jobs 1 \
        --token "$KW_TEST_TOKEN"
    refute says 'done again'
    expect 0 decrypt "$E2E/drop" --resume
    whole
}

@test "a journal that can't be written keeps files from their names" {
    need_shim
    expect 8 with_shim write:28:99:keyward-journal "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "$KW_TEST_TOKEN"
    assert_no_files out
}

@test "a full disk: what was finished stays, and --resume ends the run on a larger one" {
    unshare --mount mount -t tmpfs tmpfs "$PWD" 2>/dev/null || skip "mounting is not allowed here"
    mkdir many out
    for number in 1 2 3 4 5 6; do seq $((number * 20000)) >"many/$number.txt"; done
    expect 0 keyward seal many --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    # shellcheck disable=SC2016 # for the inner shell
    run --separate-stderr -0 unshare --mount bash -c '
        mount -t tmpfs -o size=1m tmpfs out
        "$@" 2>errors
        [ $? -eq 8 ] || exit 1
        for file in out/*.txt; do cmp "$file" "many/${file#out/}" || exit 2; done
        mount -o remount,size=100m out
        "$@" --resume || exit 3
        diff -r many out' - "$KW_PROGRAM" decrypt big --out out --token "$KW_TEST_TOKEN"
    grep -q -- --resume errors
}

@test "a file that is changed while it is read is not decrypted half old and half new" {
    need_shim
    mkdir one
    head -c 30M /dev/urandom | base64 >one/big.txt
    expect 0 keyward seal one --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    (while [ ! -e out/.keyward-journal ]; do sleep 0.01; done; sleep 0.1; touch big/big.txt) &
    expect 8 with_shim pause:20:40:big/big.txt "$KW_PROGRAM" decrypt big --out out \
        --token "$KW_TEST_TOKEN"
    wait
    says 'changed while it was read'
    assert_no_files out
}

# ---- hostile drops ----

@test "a gzip bomb ends at the limits of the configuration" {
    mkdir bomb
    head -c 200M /dev/zero | tr '\0' ' ' >bomb/bomb.json
    expect 0 keyward seal bomb --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    printf '[run]\nmax-ratio = 100\n' >ratio.conf
    printf '[run]\nmax-plaintext-mib = 100\n' >size.conf
    for limit in ratio size; do
        expect 7 decrypt big --config "$limit.conf"
        says "max-"
        assert_no_files out
        run --separate-stderr -7 keyward cat big bomb.json --config "$limit.conf" \
            --token "$KW_TEST_TOKEN"
    done
    printf '[run]\nmax-plaintext-mib = 200\n' >enough.conf
    expect 0 decrypt big --config enough.conf
    cmp out/bomb.json bomb/bomb.json
    # Without inflating, the size alone counts.
    printf '[run]\nmax-plaintext-mib = 1\n' >size.conf
    expect 0 decrypt big --config size.conf --decompress none --force
    expect 0 keyward seal bomb --out plain --compress none --key pkcs11:object=e2e \
        --token "$KW_TEST_TOKEN"
    expect 7 keyward decrypt plain --out out2 --config size.conf --decompress none \
        --token "$KW_TEST_TOKEN"
    expect 7 keyward decrypt plain --out out2 --config size.conf --token "$KW_TEST_TOKEN"
    assert_no_files out2
}

# swap FOLDER TARGET: FOLDER is a link to TARGET, then itself again, and so on until there is a file
# named stop.
swap() {
    while [ ! -e stop ]; do
        mv -T "$1" "$1.away" || true
        ln -sT "$2" "$1" || true
        rm -f "$1" || true
        mv -T "$1.away" "$1" || true
    done 2>/dev/null
}

@test "folders that become links while a run goes on lead nowhere" {
    local code swapper which
    mkdir victim elsewhere
    cp "$E2E/drop/a.json" elsewhere/c.json # it would decrypt, to what is not in that folder
    for which in drop/sub out/sub; do
        copy_drop
        mkdir -p out/sub
        swap "$which" "$PWD/$([ "$which" = drop/sub ] && echo elsewhere || echo victim)" 3>&- &
        swapper=$!
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            code=0
            decrypt drop --force --json --jobs 2 >report.json 2>/dev/null || code=$?
            [ "$code" -eq 0 ] || [ "$code" -eq 4 ] || [ "$code" -eq 7 ] || [ "$code" -eq 8 ]
            [ -z "$(find victim -mindepth 1)" ]
            refute cmp -s out/sub/c.json "$E2E/src/a.json"
        done
        touch stop
        wait "$swapper"
        rm -rf drop out stop
    done
}
