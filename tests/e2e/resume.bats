# Runs that end before they are through, and --resume.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

# A run that is not whole: b.json is damaged. Leaves drop/ mended again.
fail_one() {
    rm -rf drop
    copy_drop
    damage drop/b.json
    expect 7 decrypt drop "$@"
    says -- --resume
    cp "$E2E/drop/b.json" drop/b.json
    [ -e out/.keyward-journal ] && [ ! -e out/b.json ]
}

# The last lines of the journal that are on a file.
lines_of() { grep "\"path\":\"$1\"" out/.keyward-journal; }

inode() { stat -c %i "$1"; }

# resumed FILE...: these, and no others, were decrypted anew.
resumed() {
    local name before
    for name in a.json sub/c.json; do
        before=$name.inode
        if [[ " $* " == *" $name "* ]]; then
            [ "$(cat "${before//\//-}")" != "$(inode "out/$name")" ] || return 1
        else
            [ "$(cat "${before//\//-}")" = "$(inode "out/$name")" ] || return 1
        fi
    done
}

note_inodes() {
    local name
    for name in a.json sub/c.json; do
        inode "out/$name" >"$(tr / - <<<"$name").inode"
        # So that the number is not given to the file that takes its place.
        ln "out/$name" "$(tr / - <<<"$name").kept"
    done
}

resume() { expect "$1" decrypt drop --resume "${@:2}"; }

@test "--resume does what failed, keeps the rest, and gives the report of one run" {
    copy_drop
    expect 0 decrypt drop --report whole.json
    rm -r out
    fail_one --report first.json
    [ "$(stat -c %a out/.keyward-journal)" = 600 ]
    note_inodes
    resume 0 --report second.json
    resumed
    whole
    tool same-report whole.json second.json
    [ "$(jq -r .run_id first.json)" = "$(jq -r .run_id second.json)" ]
}

@test "without --resume a folder with a journal is refused, and --force starts anew" {
    fail_one
    expect 8 decrypt drop
    says -- --resume
    says -- --force
    note_inodes
    expect 0 decrypt drop --force
    resumed a.json sub/c.json
    whole
}

@test "--resume begins a run where the folder is missing or empty, and only there" {
    expect 0 decrypt "$E2E/drop" --resume
    whole
    expect 8 decrypt "$E2E/drop" --resume
    says 'no journal'
    rm -r out
    mkdir out
    expect 0 decrypt "$E2E/drop" --resume
    whole
    rm -r out
    mkdir out
    echo mine >out/other
    expect 8 decrypt "$E2E/drop" --resume
    [ "$(ls -A out)" = other ]
    # A run that was killed while it began may have left this, and nothing else.
    mv out/other out/..keyward-journal.keyward-abcdefgh.part
    expect 0 decrypt "$E2E/drop" --resume
    whole
}

@test "outputs that were damaged since are done again" {
    fail_one
    note_inodes
    truncate -s -1 out/a.json
    damage out/sub/c.json
    resume 0
    resumed a.json sub/c.json
    whole
}

@test "outputs that are gone, emptied, or links by now are done again" {
    fail_one
    rm out/a.json
    : >out/sub/c.json
    resume 0
    whole
    rm -r out
    fail_one
    echo outside >outside
    ln -sf "$PWD/outside" out/a.json
    resume 0
    [ ! -L out/a.json ]
    [ "$(cat outside)" = outside ]
    whole
}

@test "a folder in an output's place is left and told" {
    fail_one
    rm out/a.json
    mkdir out/a.json
    resume 8
    says a.json
    rmdir out/a.json
    resume 0
    whole
}

@test "a ciphertext that is another by now is decrypted again" {
    fail_one
    note_inodes
    damage drop/a.json # other times, other bytes, the same size
    resume 7
    [ ! -e out/a.json ]
    cp "$E2E/drop/a.json" drop/a.json
    truncate -s -16 drop/sub/c.json # another size
    resume 7
    [ ! -e out/sub/c.json ] && [ -e out/a.json ] && [ -e out/b.json ]
    cp "$E2E/drop/sub/c.json" drop/sub/c.json
    resume 0
    whole
}

@test "a ciphertext with other times and the same SHA-256 is not decrypted again" {
    fail_one
    note_inodes
    touch drop/a.json
    resume 0
    resumed
    rm -r out ./*.kept
    fail_one --digest none
    note_inodes
    touch drop/a.json
    resume 0 --digest none
    resumed a.json
    whole
}

@test "a file that someone else put there is not replaced without --force" {
    fail_one
    echo mine >out/b.json
    resume 8
    says b.json
    says -- --force
    [ "$(cat out/b.json)" = mine ]
    note_inodes
    resume 0 --force
    resumed
    whole
}

# The journal of a run that was killed before it said that what it lists has its name.
unrecorded() {
    grep -v '"recorded"' out/.keyward-journal >journal
    cat journal >out/.keyward-journal
}

# As earlier versions wrote it: a file's inode first, and what became of it in a line of its own.
in_two_lines() {
    sed -E 's/^(\{"file":[0-9]+,"path":"[^"]+")(,"inode":"[0-9]+")(.*)$/\1\2}\n\1\3/' \
        out/.keyward-journal >journal
    cat journal >out/.keyward-journal
}

without_the_end_of_a() {
    in_two_lines
    grep -v '"path":"a.json","status"' out/.keyward-journal >journal
    cat journal >out/.keyward-journal
}

@test "a file that had its name and no more when the run was killed is done again" {
    local left
    for left in unrecorded without_the_end_of_a; do
        rm -rf out ./*.kept
        fail_one
        note_inodes
        "$left"
        echo torn >out/a.json # the same inode
        resume 0
        resumed a.json
        whole
        # One that took its place is someone else's.
        rm -r out ./*.kept
        fail_one
        "$left"
        echo mine >mine
        mv mine out/a.json
        resume 8
        [ "$(cat out/a.json)" = mine ]
    done
}

@test "a file that was listed and did not get its name is done" {
    fail_one
    note_inodes
    unrecorded
    rm out/a.json
    resume 0
    resumed a.json
    whole
}

@test "a file that was listed and is whole is kept, though no one says that it got its name" {
    fail_one
    note_inodes
    unrecorded
    [ "$(lines_of a.json | wc -l)" = 1 ]
    resume 0
    resumed
    whole
}

@test "a journal of an earlier version is gone on from" {
    fail_one
    note_inodes
    in_two_lines
    [ "$(lines_of a.json | wc -l)" = 2 ]
    damage out/sub/c.json
    resume 0
    resumed sub/c.json
    whole
    rm -r out ./*.kept
    fail_one
    in_two_lines
    unrecorded
    echo mine >mine
    mv mine out/a.json
    resume 0
    whole
}

@test "a journal that was cut short, or goes on with garbage, counts as far as it can be read" {
    fail_one
    truncate -s -20 out/.keyward-journal
    note_inodes
    resume 0
    whole
    rm -r out ./*.kept
    fail_one
    head -c 5000 /dev/zero >>out/.keyward-journal
    note_inodes
    resume 0
    resumed
    whole
    rm -r out ./*.kept
    fail_one
    head -c 600000 /dev/urandom | tr '\n' x >>out/.keyward-journal
    resume 0
    whole
}

@test "a journal that begins with garbage, is of another user or a link, is refused" {
    fail_one
    cp out/.keyward-journal journal
    for text in garbage '{}' '[]' '{"schema":"keyward-journal-2"}'; do
        echo "$text" >out/.keyward-journal
        resume 8
        says -- --force
    done
    sed 's/"run_id":"[0-9a-f]*"/"run_id":"x"/' journal >out/.keyward-journal
    resume 8
    cat journal >out/.keyward-journal
    chmod 666 out/.keyward-journal
    resume 8
    rm out/.keyward-journal
    ln -s ../journal out/.keyward-journal
    resume 8
    cmp -s out/a.json "$E2E/src/a.json"
}

@test "lines of a journal that make no sense list nothing" {
    fail_one
    line=$(lines_of a.json | tail -n 1)
    for change in 's/"file":0/"file":"0"/' 's/"file":0/"file":99/' 's/"file":0/"file":-1/' 's/"file":0/"file":0.5e99/' \
        's/"crc32":[0-9]*/"crc32":4294967296/' 's/"crc32":[0-9]*/"crc32":"x"/' \
        's/"bytes_out":[0-9]*/"bytes_out":-5/' 's/"mtime":"/"mtime":"x/' \
        's/"sha256":"../"sha256":"/' 's/"status":"decrypted"/"status":"not-reached"/'; do
        rm -f out/a.json # no line is left for it
        head -n 1 out/.keyward-journal >journal
        sed "$change" <<<"$line" >>journal
        cat journal >out/.keyward-journal
        rm -rf out/sub
        resume 0
        whole
        rm -r out
        fail_one
    done
}

@test "a journal of another drop is exit 4, one of other options exit 2" {
    fail_one
    cp out/.keyward-journal journal
    expect 0 keyward seal "$E2E/src" --out other --key pkcs11:object=e2e --token "$KW_TEST_TOKEN"
    expect 4 decrypt other --resume
    says 'another data key or IV'
    cp drop/a.json drop/new.json
    resume 4
    says 'other files'
    rm drop/new.json
    for option in '--decompress none' '--digest none' --with-metadata --copy-unencrypted \
        '--include *' '--exclude x'; do
        # shellcheck disable=SC2086 # words
        resume 2 $option
        says -- "${option%% *}"
    done
    cmp journal out/.keyward-journal
    resume 0
    whole
}

@test "nothing is unwrapped where nothing is missing, and the report says the same" {
    expect 0 decrypt "$E2E/drop" --report whole.json
    rm -r out
    # Without standard output the summary fails, and the run is not ended.
    run -8 --separate-stderr bash -c '"$@" >&-' - "$KW_PROGRAM" decrypt "$E2E/drop" --out out \
        --token "$KW_TEST_TOKEN"
    [ -e out/.keyward-journal ]
    spied
    expect 0 keyward decrypt "$E2E/drop" --out out --resume --report second.json \
        --token "$(token_with "pin-source=file:$KW_TEST_PIN_FILE")"
    [ ! -e calls ] || [ "$(calls_of C_Login)$(calls_of C_Decrypt)" = 00 ]
    whole
    tool same-report whole.json second.json
}

@test "only one run at a time writes to a folder" {
    fail_one
    exec 9>>out/.keyward-journal
    flock 9
    resume 8
    says 'another run'
    expect 8 decrypt drop --force
    says 'another run'
    exec 9>&-
    resume 0
    whole
}

@test "a data file of the journal's name is refused" {
    copy_drop
    cp drop/a.json drop/.keyward-journal
    expect 4 decrypt drop
    says 'keyward-journal'
    expect 0 decrypt drop --exclude .keyward-journal
    whole
}

@test "what a killed run left under temporary names is taken away, and no more" {
    fail_one
    touch out/.a.json.keyward-abcdefg2.part out/.b.json.keyward-abcdefg2.part \
        out/.b.json.keyward-abcdefg9.part out/b.json.keyward-abcdefg2.part
    resume 0
    [ "$(find out -name '*.part' | wc -l)" -eq 2 ]
    [ ! -e out/.b.json.keyward-abcdefg2.part ]
}

@test "files that were copied, or left out, are that after --resume too" {
    copy_drop
    seq -f '{"plain":%.0f}' 100 >drop/plain.json
    damage drop/b.json
    expect 7 decrypt drop --copy-unencrypted --with-metadata
    cp "$E2E/drop/b.json" drop/b.json
    note_inodes
    resume 0 --copy-unencrypted --with-metadata --json
    resumed
    [ "$(jq -c '[.totals.decrypted, .totals.copied]' <<<"$output")" = '[3,2]' ]
    cmp drop/plain.json out/plain.json
    rm -r out ./*.kept
    damage drop/b.json
    expect 7 decrypt drop
    cp "$E2E/drop/b.json" drop/b.json
    resume 0 --json
    [ "$(jq -c '[.totals.decrypted, .totals.unencrypted]' <<<"$output")" = '[3,1]' ]
    whole
}

# ---- when to stop ----

@test "--on-error and --max-failures stop a run, and --resume goes on" {
    copy_drop
    for file in drop/a.json drop/b.json drop/sub/c.json; do damage "$file"; done
    for options in '--on-error stop' '--max-failures 1' '--on-error continue --max-failures 1'; do
        # shellcheck disable=SC2086 # words
        expect 7 decrypt drop --jobs 1 --report report.json $options --force
        says '2 were not reached'
        [ "$(jq -c '[.totals.failed, .totals.not_reached]' report.json)" = '[1,2]' ]
        jq -r .error.message report.json | grep -q '2 were not reached'
    done
    expect 7 decrypt drop --jobs 1 --report report.json --max-failures 2 --force
    [ "$(jq -c '[.totals.failed, .totals.not_reached]' report.json)" = '[2,1]' ]
    for options in '--on-error continue' '--max-failures 4'; do
        # shellcheck disable=SC2086 # words
        expect 7 decrypt drop --report report.json $options --force
        [ "$(jq -c '[.totals.failed, .totals.not_reached]' report.json)" = '[3,0]' ]
    done
    rm -rf out
    mkdir out
    expect 7 decrypt drop --jobs 1 --on-error stop
    rm -r drop
    copy_drop
    expect 0 decrypt drop --resume
    whole
}

@test "SIGTERM and SIGINT: exit 130, no part of a file, and --resume ends the run" {
    need_shim
    for signal in TERM INT; do
        rm -rf out
        KW_SIGNAL=$signal expect 130 with_shim pause:300:20:drop/ tool interrupt out/.keyward-journal \
            "$KW_PROGRAM" decrypt "$E2E/drop" --out out --jobs 1 --token "$KW_TEST_TOKEN"
        says interrupted
        says -- --resume
        [ ! -e out ] || [ -z "$(find out -type f ! -name .keyward-journal)" ]
        expect 0 decrypt "$E2E/drop" --resume
        whole
    done
}
