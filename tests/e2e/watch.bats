# keyward watch: an inbox of drops.
# shellcheck disable=SC2154,SC2030,SC2031 # run sets output, stderr and status; each test is a subshell
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    mkdir inbox
    watcher='' listener=''
}
teardown() {
    local process
    for process in $watcher $listener; do
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}

# A drop that comes to the inbox in one step.
deliver() { cp -r "$E2E/drop" .coming && touch .coming/_SUCCESS && mv .coming "inbox/$1"; }
# The same, and its b.json is damaged.
deliver_damaged() {
    cp -r "$E2E/drop" .coming && touch .coming/_SUCCESS && damage .coming/b.json &&
        mv .coming "inbox/$1"
}

once() {
    expect "$1" keyward watch inbox --out out --marker _SUCCESS --once --token "$KW_TEST_TOKEN" \
        "${@:2}"
}
# The same, where a drop is complete when nothing in it changes.
once_at_rest() {
    expect "$1" keyward watch inbox --out out --settle 1 --once --token "$KW_TEST_TOKEN" "${@:2}"
}

# Not by way of a function: its process, and no shell around it, is the one to be killed.
start() {
    "$KW_PROGRAM" watch inbox --out out --token "$KW_TEST_TOKEN" "$@" \
        >watch.log 2>&1 3>&- &
    watcher=$!
}
# stop CODE: the watch ends with it within 20 seconds of SIGTERM.
stop() {
    local code=0
    kill -TERM "$watcher"
    timeout 20 tail --pid="$watcher" -f /dev/null
    wait "$watcher" || code=$?
    watcher=
    [ "$code" -eq "$1" ] || {
        printf 'it ended with %d\n' "$code"
        cat watch.log
        return 1
    }
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# done_with NAME: decrypted, put away, and nothing else is left of it.
done_with() {
    diff -r "$E2E/src" "out/$1" && [ -d "inbox/.done/$1" ] && [ ! -e "inbox/$1" ] &&
        [ "$(jq -r .status "inbox/.done/$1.report.json")" = ok ] &&
        [ "$(jq -r .output "inbox/.done/$1.report.json")" = "out/$1" ] &&
        [ ! -e "out/.$1.partial" ] && [ ! -e "out/$1/.keyward-journal" ]
}
quarantined() { [ -d "inbox/.quarantine/$1" ] && [ ! -e "inbox/$1" ] && [ ! -e "out/$1" ]; }
reason_of() { jq -r .error.message "inbox/.quarantine/$1.report.json"; }
records_of() { keyward audit show --json | jq -r "select(.op == \"$1\") | .drop"; }
files_of() { find "$1" -type f -printf '%P\n' | sort; }

@test "every complete drop is decrypted once and moved away with its report" {
    cp -r "$E2E/drop" inbox/one
    cp -r "$E2E/drop" inbox/two
    once_at_rest 0
    done_with one
    done_with two
    grep -q '^one: 3 of 3 files decrypted: ' <<<"$output"
    [ "$(records_of drop.done | sort | tail -n 2 | xargs)" = 'inbox/one inbox/two' ]
    once 0
    [ -z "$output" ]
}

@test "a bad drop goes to quarantine with its reason, and the others are decrypted" {
    deliver a
    deliver_damaged b
    deliver c
    rm -r inbox/c/metadata/MoreMetadata/EncryptedDatasets/*
    echo '{' >inbox/c/metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json
    deliver d
    once 7
    says '2 drops failed'
    done_with a
    done_with d
    quarantined b
    quarantined c
    [[ $(reason_of b) == *b.json* ]]
    [[ $(reason_of c) == *encryptionKeyDetails* ]]
    [ "$(jq -r .exit_code inbox/.quarantine/c.report.json)" = 4 ]
    [ "$(records_of drop.quarantine | tail -n 2 | xargs)" = 'inbox/b inbox/c' ]
    # What was good of it is kept under a hidden name, which its report tells.
    [ "$(files_of "$(jq -r .output inbox/.quarantine/b.report.json)")" = \
        "$(printf '.keyward-journal\na.json\nsub/c.json')" ]
}

@test "a drop that comes again after quarantine begins anew, under the same name" {
    deliver_damaged one
    once 7
    deliver one
    once 0
    done_with one
    deliver_damaged two
    once 7
    deliver_damaged two
    once 7
    [ -d inbox/.quarantine/two ] && [ -d inbox/.quarantine/two.2 ]
    [ -e inbox/.quarantine/two.report.json ] && [ -e inbox/.quarantine/two.2.report.json ]
}

@test "plaintext that is there is not replaced" {
    deliver one
    once 0
    cp -r out kept
    deliver one
    once 8
    quarantined_twin=inbox/.quarantine/one
    [ -d "$quarantined_twin" ]
    [[ $(reason_of one) == *"already"* ]]
    diff -r kept out
}

@test "a drop is not taken before its metadata is there and nothing changes any more" {
    mkdir -p inbox/one
    cp -r "$E2E/drop/a.json" inbox/one/
    once_at_rest 0
    says 'one is left alone for now: it has no metadata yet'
    [ ! -e out/one ]
    start --settle 1
    until_true grep -q 'one is left alone' watch.log
    cp -r "$E2E/drop/metadata" inbox/one/
    # A file that grows is no file at rest.
    for size in 1000 2000 3000 4000; do
        head -c "$size" "$E2E/drop/b.json" >inbox/one/b.json
        sleep 0.5
        [ -e inbox/one ]
    done
    cp "$E2E/drop/b.json" inbox/one/
    cp -r "$E2E/drop/sub" inbox/one/
    until_true test -d inbox/.done/one
    stop 130
    done_with one
}

@test "with --marker a drop is taken when it has that file" {
    cp -r "$E2E/drop" inbox/one
    once 0
    says 'one is left alone for now: it has no marker file yet'
    [ ! -e out/one ]
    touch inbox/one/_SUCCESS
    once 0
    done_with one
}

@test "files that come after a drop was taken send it to quarantine" {
    deliver one
    # shellcheck disable=SC2016 # for the command's shell
    once 4 --exec 'cat >/dev/null; echo late >"$KEYWARD_DROP/late.json"' --jobs 1
    [[ $(reason_of one) == *'files came or changed'* ]]
    quarantined one
}

@test "--leave moves nothing, and takes each drop once" {
    deliver good
    deliver_damaged bad
    chmod 555 inbox
    once 7 --leave
    [ "$(find inbox -mindepth 1 -maxdepth 1 | wc -l)" -eq 2 ]
    diff -r "$E2E/src" out/good
    [ ! -e out/bad ]
    [ "$(jq -r .status out/good.report.json)" = ok ]
    [ "$(jq -r .status out/bad.report.json)" = damaged ]
    once 0 --leave
    [ -z "$output" ]
    # To have it tried again, the mark is taken away.
    rm out/bad.report.json
    once 7 --leave
    chmod 755 inbox
}

@test "--exec gives each plaintext to the command, and leaves nothing on the disk" {
    deliver one
    mkdir got
    # shellcheck disable=SC2016
    once 0 --exec 'mkdir -p "got/$(dirname "$KEYWARD_FILE")" && cat >"got/$KEYWARD_FILE" && echo "$KEYWARD_DROP $KEYWARD_RUN" >>told'
    diff -r "$E2E/src" got
    [ "$(sort -u told)" = "inbox/one $(jq -r .run_id inbox/.done/one.report.json)" ]
    [ -z "$(find out -mindepth 1)" ]
    [ -d inbox/.done/one ]
}

@test "a command whose file is damaged is ended before it sees the end of its input" {
    deliver_damaged one
    mkdir got
    # shellcheck disable=SC2016
    once 7 --exec 'name=got/$(basename "$KEYWARD_FILE"); cat >"$name.part" && mv "$name.part" "$name"'
    [ -e got/a.json ] && [ -e got/c.json ] && [ ! -e got/b.json ]
    quarantined one
}

@test "a command that fails is told, and only its file is given to the next one" {
    deliver one
    # shellcheck disable=SC2016
    once 8 --exec 'cat >/dev/null; echo "$KEYWARD_FILE" >>told; test "$KEYWARD_FILE" != b.json'
    says 'the command for b.json ended with exit status 1'
    [ -d inbox/one ]
    # shellcheck disable=SC2016
    once 8 --exec 'echo "$KEYWARD_FILE" >>told; exec <&-; exit 0'
    says 'ended before it had read all of it'
    # shellcheck disable=SC2016
    once 0 --exec 'cat >/dev/null; echo "$KEYWARD_FILE" >>told'
    [ "$(sort told | xargs)" = 'a.json b.json b.json b.json sub/c.json' ]
    [ -d inbox/.done/one ] && [ -z "$(find out -mindepth 1)" ]
}

@test "the command has no PIN and no descriptor of the program" {
    deliver one
    SECRET_PIN=$KW_PIN once 0 --token "$(token_with pin-source=env:SECRET_PIN)" \
        --exec 'cat >/dev/null; env >>told; ls /proc/self/fd | grep -v "^[0-3]$" >>descriptors; true'
    refute grep -q "$KW_PIN" told
    refute grep -q SECRET_PIN told
    grep -q '^KEYWARD_FILE=a.json$' told
    [ ! -s descriptors ]
}

@test "a command whose watch is killed is ended before it sees the end of its input" {
    deliver one
    # shellcheck disable=SC2016
    start --marker _SUCCESS --exec 'echo $$ >pid; while read -r line; do sleep 0.1; done; touch ended'
    until_true test -s pid
    kill -KILL "$watcher"
    wait "$watcher" || true
    watcher=
    until_true gone "$(cat pid)"
    [ ! -e ended ]
}

@test "the process that starts commands has no PIN in its arguments or its environment" {
    deliver one
    # shellcheck disable=SC2016
    SECRET_PIN=$KW_PIN start --token "$(token_with "pin-value=$KW_PIN")" --marker _SUCCESS \
        --exec 'echo $PPID >pid.part && mv pid.part pid; sleep 1000'
    until_true test -s pid
    launcher=$(cat pid)
    tr '\0' '\n' <"/proc/$launcher/cmdline" | grep -q -x watch
    refute grep -q -a -F "$KW_PIN" "/proc/$launcher/cmdline" "/proc/$launcher/environ"
    refute grep -q -a -F "$KW_PIN" "/proc/$watcher/cmdline"
    stop 130
    refute kill -0 "$launcher"
}

@test "the watch is confined, and its commands are not" {
    deliver one
    # shellcheck disable=SC2016
    once 0 --exec 'cat >/dev/null; id >outside && cat /etc/os-release >/dev/null'
    [ -s outside ]
    # In what may be confined no more, there is nothing that says so.
    [ -z "$(records_of sandbox)" ]
}

@test "SIGTERM ends a watch whose command hangs, and the next watch goes on" {
    deliver one
    # shellcheck disable=SC2016
    start --marker _SUCCESS --exec 'echo $$ >pid; sleep 1000'
    until_true test -s pid
    stop 130
    refute kill -0 "$(cat pid)"
    [ -d inbox/one ]
    # shellcheck disable=SC2016
    once 0 --exec 'cat >/dev/null; echo "$KEYWARD_FILE" >>told'
    [ "$(sort told | xargs)" = 'a.json b.json sub/c.json' ]
    [ -d inbox/.done/one ]
}

@test "a drop that could not be moved afterwards is not decrypted" {
    deliver one
    chmod 555 inbox/one
    expect 8 as_user "$KW_PROGRAM" watch inbox --out out --marker _SUCCESS --once \
        --token "$KW_TEST_TOKEN"
    says 'could not be moved away afterwards'
    [ -z "$(find out -mindepth 1)" ]
    chmod 755 inbox/one
    once 0
    done_with one
}

@test "a watch that is killed at any moment leaves no drop half done, and the next one ends well" {
    local i
    for i in 1 2 3 4; do deliver "drop$i"; done
    keep_token
    for i in 0.01 0.02 0.03 0.04 0.05 0.06 0.08 0.1 0.12 0.15; do
        start --marker _SUCCESS
        sleep "$i"
        kill -KILL "$watcher"
        wait "$watcher" 2>/dev/null || true
        watcher=
        give_token_back
        for name in drop1 drop2 drop3 drop4; do
            [ ! -e "out/$name" ] || diff -r -x .keyward-journal "$E2E/src" "out/$name"
        done
    done
    once 0
    for name in drop1 drop2 drop3 drop4; do done_with "$name"; done
    [ -z "$(find out -name '.*' -type f)" ]
    keyward audit verify --quiet
}

# interrupt NAME: a drop that a watch was killed in when a.json was done.
interrupt() {
    deliver "$1"
    chmod 000 "inbox/$1/sub/c.json" "inbox/$1/b.json"
    expect 8 as_user "$KW_PROGRAM" watch inbox --out out --marker _SUCCESS --once \
        --token "$KW_TEST_TOKEN"
    chmod 644 "inbox/$1/sub/c.json" "inbox/$1/b.json"
    [ -e "out/.$1.partial/a.json" ] && [ -e "out/.$1.partial/.keyward-journal" ]
}

@test "files that the journal does not list, as after a power cut, are done again" {
    interrupt one
    sed -i 1q out/.one.partial/.keyward-journal
    once 0
    done_with one
}

@test "what is left of an earlier drop of the name, or of other options, is not in the way" {
    interrupt one
    rm -r inbox/one
    keyward seal "$E2E/src" --out inbox/one --token "$KW_TEST_TOKEN" --key e2e
    touch inbox/one/_SUCCESS
    once 0
    done_with one
    [ -n "$(find out -path '*/.one.*.partial/a.json')" ]
    interrupt two
    once 0 --digest none
    done_with two
}

@test "an empty folder in the output is not in the way" {
    deliver one
    mkdir -p out/one
    once 0
    done_with one
}

@test "no report is replaced, and none is taken for a drop's mark that isn't" {
    deliver one
    once 0
    rm -r inbox/.done/one out/one
    cp inbox/.done/one.report.json kept.json
    deliver one
    once 0
    cmp kept.json inbox/.done/one.report.json
    [ -d inbox/.done/one.2 ] && [ -e inbox/.done/one.2.report.json ]
    deliver two.report.json
    deliver two
    once 0 --leave
    says 'two.report.json is left alone'
    diff -r "$E2E/src" out/two
    [ -f out/two.report.json ]
}

@test "a file that is filled in place is not at rest" {
    deliver one
    start --settle 1
    for ((i = 0; i < 5; i++)); do
        sleep 0.5
        dd if="$E2E/drop/b.json" of=inbox/one/b.json conv=notrunc status=none
        [ -e inbox/one ]
    done
    until_true test -d inbox/.done/one
    stop 130
}

@test "folders that whoever brings drops has made are not trusted" {
    mkdir inbox/.done
    chown 65534 inbox/.done
    once 8
    says 'belongs to another user'
    rmdir inbox/.done
    mkdir elsewhere
    ln -s ../elsewhere inbox/.done
    once 8
    [ -z "$(ls -A elsewhere)" ]
}

@test "without the process that starts commands the watch ends, and drops stay" {
    deliver one
    # shellcheck disable=SC2016
    start --marker _SUCCESS --exec 'echo $PPID $$ >pid.part && mv pid.part pid; cat >/dev/null; exec sleep 1000'
    until_true test -s pid
    local launcher command
    read -r launcher command <pid
    kill -KILL "$launcher"
    local code=0
    timeout 20 tail --pid="$watcher" -f /dev/null
    wait "$watcher" || code=$?
    watcher=
    [ "$code" -eq 1 ]
    [ -d inbox/one ]
    kill -KILL "$command" 2>/dev/null || true
}

@test "what is on the trail after the last drop is signed too" {
    deliver one
    deliver two
    rm -r inbox/two/metadata/MoreMetadata/EncryptedDatasets/*
    echo '{' >inbox/two/metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json
    keyward audit sign --token "$KW_TEST_TOKEN" >/dev/null
    once 4
    keyward audit verify | grep -q -E '([0-9]+) records, \1 of them signed'
}

@test "a token that is away is waited for" {
    tokens=$(sed -n 's/^directories.tokendir *= *//p' "$SOFTHSM2_CONF")
    mv "$tokens" "$tokens.away"
    deliver one
    start --marker _SUCCESS
    until_true grep -q 'will be tried again' watch.log
    sleep 1
    [ -d inbox/one ]
    mv "$tokens.away" "$tokens"
    until_true test -d inbox/.done/one
    stop 130
    done_with one
}

@test "a PIN that is refused ends the watch, and is sent once" {
    spied
    echo 999999 >wrong
    chmod 600 wrong
    deliver one
    # Without --once: for a token that is away it would wait for ever.
    expect 3 timeout 60 "$KW_PROGRAM" watch inbox --out out --marker _SUCCESS \
        --token "$(token_with "pin-source=file:$PWD/wrong")"
    [ "$(calls_of C_Login)" -eq 1 ]
    [ -d inbox/one ]
}

@test "where the trail can't be written, nothing is decrypted and the watch ends with 9" {
    deliver one
    printf '[audit]\ndir = %s/file/audit\n' "$PWD" >conf
    touch file
    once 9 --config conf
    [ -d inbox/one ] && assert_no_files out
}

@test "a key that is disabled while the watch is on unwraps no further drop" {
    keyward key create watched --no-expiry --token "$KW_TEST_TOKEN" >/dev/null
    keyward seal "$E2E/src" --out first --token "$KW_TEST_TOKEN" --key watched
    keyward seal "$E2E/src" --out second --token "$KW_TEST_TOKEN" --key watched
    start --marker _SUCCESS
    touch first/_SUCCESS second/_SUCCESS
    mv first inbox/first
    until_true test -d inbox/.done/first
    keyward key disable watched --token "$KW_TEST_TOKEN"
    mv second inbox/second
    until_true test -d inbox/.quarantine/second
    stop 130
    [[ $(reason_of second) == *disabled* ]]
    [ ! -e out/second ]
}

@test "two watches are not on the same inbox or output" {
    start --marker _SUCCESS
    until_true test -d inbox/.done
    once 8
    says 'another keyward watch'
    mkdir other
    expect 8 keyward watch other --out out --once --token "$KW_TEST_TOKEN"
    stop 130
}

@test "folders that can't be are refused at once" {
    expect 2 keyward watch inbox --once --token "$KW_TEST_TOKEN"
    expect 2 keyward watch inbox --out inbox/out --once --token "$KW_TEST_TOKEN"
    expect 2 keyward watch inbox --out . --once --token "$KW_TEST_TOKEN"
    expect 2 keyward watch inbox --out out --done inbox/done --once --token "$KW_TEST_TOKEN"
    expect 2 keyward watch inbox --out out --leave --done 'done' --once --token "$KW_TEST_TOKEN"
    expect 8 keyward watch missing --out out --once --token "$KW_TEST_TOKEN"
    [ "$(stat -c %d .)" = "$(stat -c %d /dev/shm)" ] || {
        expect 2 keyward watch inbox --out out --done /dev/shm --once --token "$KW_TEST_TOKEN"
        says 'another filesystem'
    }
}

@test "what is no folder, hidden or a link is left alone" {
    touch inbox/file
    cp -r "$E2E/drop" inbox/.hidden
    touch inbox/.hidden/_SUCCESS
    ln -s "$E2E/drop" inbox/link
    deliver "$(printf 'x%.0s' {1..201})"
    once_at_rest 0
    says 'a name that is too long'
    [ -z "$(find out -mindepth 1)" ]
    [ -L inbox/link ]
}

@test "the service manager is told when it is ready, alive and ending" {
    python3 "$BATS_TEST_DIRNAME/tool.py" listen notify messages 3>&- &
    listener=$!
    until_true test -S notify
    NOTIFY_SOCKET=$PWD/notify WATCHDOG_USEC=400000 start --marker _SUCCESS
    deliver one
    until_true grep -q 'STATUS=.*decrypted' messages
    until_true grep -q '^WATCHDOG=1$' messages
    stop 130
    until_true grep -q '^STOPPING=1$' messages
    [ "$(head -n 1 messages)" = READY=1 ]
    done_with one
}
