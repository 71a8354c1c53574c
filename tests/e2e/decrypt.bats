# Decrypting as a user does: outputs, choices, damaged and odd drops.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

schema=$BATS_TEST_DIRNAME/../../docs/report.schema.json

@test "a drop is mirrored under the output folder" {
    expect 0 decrypt "$E2E/drop"
    diff -r "$E2E/src" out
    [ "$(stat -c %a out out/sub out/a.json | sort -u | tr '\n' ' ')" = "600 700 " ]
}

@test "nothing is shown on standard error when all is well" {
    expect 0 decrypt "$E2E/drop"
    [ -z "$stderr" ]
    rm -r out
    expect 0 decrypt "$E2E/drop" --quiet
    [ -z "$stderr$output" ]
}

@test "a progress bar is for terminals" {
    run tool terminal "$KW_PROGRAM" decrypt "$E2E/drop" --out out --token "$KW_TEST_TOKEN"
    [ "$status" -eq 0 ]
    [ -n "$output" ]
    rm -r out
    run tool terminal "$KW_PROGRAM" decrypt "$E2E/drop" --out out --token "$KW_TEST_TOKEN" \
        --no-progress --quiet
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "an output that exists is exit 8 and stays as it is, unless --force" {
    mkdir out
    echo mine >out/b.json
    expect 8 decrypt "$E2E/drop"
    says b.json
    says -- --force
    [ "$(cat out/b.json)" = mine ]
    [ "$(find out -type f | wc -l)" -eq 1 ]
    expect 0 decrypt "$E2E/drop" --force
    diff -r "$E2E/src" out
}

@test "--force keeps what exists where the new file is damaged" {
    copy_drop
    damage drop/b.json
    mkdir out
    echo mine >out/b.json
    expect 7 decrypt drop --force
    [ "$(cat out/b.json)" = mine ]
}

@test "one damaged file: the others are written, exit 7" {
    copy_drop
    damage drop/b.json
    expect 7 decrypt drop --report report.json
    says b.json
    [ ! -e out/b.json ]
    cmp "$E2E/src/a.json" out/a.json
    cmp "$E2E/src/sub/c.json" out/sub/c.json
    tool validate "$schema" report.json
}

@test "a file cut short, emptied, or with bytes after its end is damaged" {
    copy_drop
    truncate -s -16 drop/a.json
    : >drop/b.json
    head -c 16 /dev/urandom >>drop/sub/c.json
    expect 7 decrypt drop
    assert_no_files out
}

@test "--include and --exclude choose files" {
    expect 0 decrypt "$E2E/drop" --include 'a*'
    [ "$(cd out && find . -type f)" = ./a.json ]
    rm -r out
    expect 0 decrypt "$E2E/drop" --include 'sub/*' --include b.json
    [ "$(cd out && find . -type f | sort | tr '\n' ' ')" = "./b.json ./sub/c.json " ]
    rm -r out
    expect 0 decrypt "$E2E/drop" --exclude '[ab].json'
    [ "$(cd out && find . -type f)" = ./sub/c.json ]
}

@test "--with-metadata copies it too" {
    expect 0 decrypt "$E2E/drop" --with-metadata
    diff -r "$E2E/drop/metadata" out/metadata
    rm -r out/metadata
    diff -r "$E2E/src" out
}

@test "files that are not encrypted are left out, or copied with --copy-unencrypted" {
    copy_drop
    seq -f '{"plain":%.0f}' 100 >drop/plain.json
    expect 0 decrypt drop
    [ ! -e out/plain.json ]
    warns plain
    rm -r out
    expect 0 decrypt drop --copy-unencrypted
    cmp drop/plain.json out/plain.json
    rm out/plain.json
    diff -r "$E2E/src" out
}

@test "Spark's markers are left out" {
    copy_drop
    touch drop/_SUCCESS drop/_started_123 drop/sub/_committed_123 drop/.a.json.crc
    expect 0 decrypt drop
    diff -r "$E2E/src" out
}

@test "symbolic links and other odd files are left out with a warning" {
    copy_drop
    echo outside >outside.json
    ln -s "$PWD/outside.json" drop/link.json
    ln -s a.json drop/inside.json
    ln -s "$E2E/drop" drop/folder
    mkfifo drop/pipe.json
    expect 0 decrypt drop
    diff -r "$E2E/src" out
    warns link.json
    warns pipe.json
}

@test "an output folder that holds a symbolic link is not written through it" {
    mkdir elsewhere out
    ln -s ../elsewhere out/sub
    run --separate-stderr decrypt "$E2E/drop"
    [ "$status" -eq 8 ]
    assert_no_files elsewhere
}

@test "an output folder inside the drop is refused" {
    copy_drop
    run --separate-stderr keyward decrypt drop --out drop/out --token "$KW_TEST_TOKEN"
    [ "$status" -ne 0 ]
    assert_no_files drop/out
}

@test "a folder without metadata is reported as not encrypted" {
    expect 4 decrypt "$E2E/src"
    says 'not encrypted'
    assert_no_files out
}

@test "a drop that is missing, a file, or not readable" {
    expect 4 decrypt none ||  expect 8 decrypt none
    says none
    echo x >file
    run --separate-stderr decrypt file
    [ "$status" -eq 4 ] || [ "$status" -eq 8 ]
    assert_no_files out
}

@test "no permission to write is exit 8" {
    mkdir closed
    chmod 500 closed
    expect 8 as_user "$KW_PROGRAM" decrypt "$E2E/drop" --out closed/out --token "$KW_TEST_TOKEN"
    expect 8 as_user "$KW_PROGRAM" decrypt "$E2E/drop" --out closed --token "$KW_TEST_TOKEN"
    [ -z "$(ls -A closed)" ]
}

@test "no permission to read one file is exit 8, and the others are written" {
    copy_drop
    chmod 000 drop/b.json
    expect 8 as_user "$KW_PROGRAM" decrypt drop --out out --token "$KW_TEST_TOKEN"
    says b.json
    [ ! -e out/b.json ]
    cmp "$E2E/src/a.json" out/a.json
}

on_small_disk() {
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount bash -c '
        mount -t tmpfs -o size=64k tmpfs "$1" && shift && "$@"
        code=$?
        find out ! -type d
        exit $code' - "$@"
}

@test "a full disk is exit 8 and leaves no partial file" {
    unshare --mount mount -t tmpfs tmpfs "$PWD" 2>/dev/null || skip "mounting is not allowed here"
    mkdir out
    seq 100000 >big.txt
    expect 0 keyward seal big.txt --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    run --separate-stderr -8 on_small_disk out "$KW_PROGRAM" decrypt big --out out --quiet \
        --token "$KW_TEST_TOKEN"
    says '^keyward: '
    [ -z "$output" ]
}

@test "a file larger than allowed (ulimit) is exit 8 and leaves no partial file" {
    seq 100000 >big.txt
    expect 0 keyward seal big.txt --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    # The audit trail would meet the limit first.
    printf '[audit]\nenabled = no\n' >no-trail.conf
    # shellcheck disable=SC2016 # for the inner shell
    expect 8 bash -c 'ulimit -f 64; exec "$@"' - "$KW_PROGRAM" decrypt big --out out --quiet \
        --config "$PWD/no-trail.conf" --token "$KW_TEST_TOKEN"
    assert_no_files out
}

@test "Ctrl-C during a large run is exit 130 and leaves nothing" {
    mkdir many
    head -c 400M /dev/zero | tr '\0' x >many/1.txt
    ln many/1.txt many/2.txt
    ln many/1.txt many/3.txt
    ln many/1.txt many/4.txt
    expect 0 keyward seal many --out big --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    rm -r many
    run --separate-stderr -130 tool interrupt out/.keyward-journal "$KW_PROGRAM" decrypt big --out out --jobs 1 \
        --report report.json --token "$KW_TEST_TOKEN"
    says '^keyward: '
    for file in out/*; do
        [ ! -e "$file" ] || [ "$(stat -c %s "$file")" -eq $((400 * 1024 * 1024)) ]
    done
    [ "$(find out -type f ! -name .keyward-journal | wc -l)" -lt 4 ]
    says -- --resume
    rm -rf out
    tool validate "$schema" report.json
}

@test "--json and --report hold the same document, and it fits the schema" {
    expect 0 decrypt "$E2E/drop" --json --report report.json
    tool validate "$schema" - <<<"$output"
    tool validate "$schema" report.json
    python3 - report.json "$KW_KEY_ID" "$E2E" <<'END'
import hashlib, json, os, sys
report = json.load(open(sys.argv[1]))
assert report["status"] == "ok" and report["exit_code"] == 0, report["status"]
assert report["key"]["id"] == sys.argv[2] and report["key"]["algorithm"] == "RSA-OAEP"
assert [f["path"] for f in report["files"]] == ["a.json", "b.json", "sub/c.json"]
for file in report["files"]:
    data = open(os.path.join(sys.argv[3], "drop", file["path"]), "rb").read()
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert file["bytes_in"] == len(data)
END
}

@test "--digest none leaves the hashes out" {
    expect 0 decrypt "$E2E/drop" --digest none --json
    tool validate "$schema" - <<<"$output"
    refute grep -q '"sha256":"' <<<"$output"
}

@test "a report of a run that failed fits the schema too" {
    copy_drop
    expect 5 decrypt drop --key pkcs11:object=nonesuch --json --report report.json
    tool validate "$schema" report.json
    tool validate "$schema" - <<<"$output"
    rm report.json
    expect 4 decrypt "$E2E/src" --report report.json
    tool validate "$schema" report.json
}

@test "a report that exists is not overwritten without --force" {
    echo mine >report.json
    expect 8 decrypt "$E2E/drop" --report report.json
    [ "$(cat report.json)" = mine ]
}

@test "--key takes the key by URI, name or id" {
    for key in pkcs11:object=e2e e2e "$KW_KEY_ID"; do
        expect 0 decrypt "$E2E/drop" --key "$key"
        diff -r "$E2E/src" out
        rm -r out
    done
    expect 5 decrypt "$E2E/drop" --key nonesuch
    says nonesuch
    # It lists what there is, as far as a sentence holds it.
    says 'the token has "[^"]*" (id [0-9a-f]*)'
}

@test "--unwrap-alg other than the sender's is exit 5" {
    expect 5 decrypt "$E2E/drop" --unwrap-alg RSA-OAEP-256
    assert_no_files out
    expect 0 decrypt "$E2E/drop" --unwrap-alg RSA-OAEP
}

@test "--decompress none writes gzip" {
    expect 0 decrypt "$E2E/drop" --decompress none
    gunzip -c <out/a.json | cmp - "$E2E/src/a.json"
}

@test "--jobs from one to many give the same" {
    for jobs in 1 2 7; do
        expect 0 decrypt "$E2E/drop" --jobs "$jobs"
        diff -r "$E2E/src" out
        rm -r out
    done
}

@test "damage to the first block is told, also of data that is text" {
    copy_drop
    tool flip drop/a.json 0
    expect 7 decrypt drop
    says 'neither gzip nor text'
    [ ! -e out/a.json ]
    [ -e out/b.json ]
}

@test "a wrong IV is told" {
    copy_drop
    metadata=$(find drop/metadata -name '*.json')
    iv=$(head -c 16 /dev/urandom | base64)
    sed -i "s|\(\"DecryptionKeyIV\":[[:space:]]*\"\)[^\"]*|\1$iv|" "$metadata"
    expect 7 decrypt drop
    says 'the IV'
    assert_no_files out
}

@test "folders are left out by name, and nothing stays behind where a file failed in one" {
    expect 0 decrypt "$E2E/drop" --exclude sub
    [ ! -e out/sub ] && [ -e out/a.json ]
    rm -r out
    expect 0 decrypt "$E2E/drop" --include ./sub/
    [ -e out/sub/c.json ] && [ ! -e out/a.json ]
    rm -r out
    copy_drop
    damage drop/sub/c.json
    expect 7 decrypt drop
    [ ! -e out/sub ] && [ -e out/a.json ]
}

@test "the report may be in the output folder, not in the drop, and replaces no plaintext" {
    expect 0 decrypt "$E2E/drop" --report out/report.json
    tool validate "$BATS_TEST_DIRNAME/../../docs/report.schema.json" out/report.json
    copy_drop
    expect 2 keyward decrypt drop --out other --token "$KW_TEST_TOKEN" --report drop/report.json
    [ ! -e drop/report.json ]
    expect 8 decrypt drop --force --report out/a.json
    cmp out/a.json "$E2E/src/a.json"
    # An old report is not lost to a run that does not begin.
    cp out/report.json old.json
    expect 4 keyward decrypt nonesuch --out new --token "$KW_TEST_TOKEN" --report old.json --force
    tool validate "$BATS_TEST_DIRNAME/../../docs/report.schema.json" old.json
}

@test "messages never go into a file that was opened, where a standard stream is closed" {
    copy_drop
    damage drop/a.json
    run -7 bash -c '"$@" 2>&-' - "$KW_PROGRAM" decrypt drop --out out --report r.json \
        --token "$KW_TEST_TOKEN"
    tool validate "$BATS_TEST_DIRNAME/../../docs/report.schema.json" r.json
    run -8 --separate-stderr bash -c '"$@" >&-' - "$KW_PROGRAM" decrypt "$E2E/drop" --out out2 \
        --report r2.json --token "$KW_TEST_TOKEN"
    tool validate "$BATS_TEST_DIRNAME/../../docs/report.schema.json" r2.json
}
