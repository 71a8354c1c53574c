# shellcheck disable=SC2154 # run sets output, stderr and status
# Two tokens with the same key: one fails, the other one unwraps. The first is SoftHSM2's, the module
# with faults in front of it or not, or one behind p11-kit's server; the second SoftHSM2's, through a
# copy of the module, which is another module in the same process.
load helper

setup_file() {
    case $KW_TEST_TOKEN_KIND in softhsm | p11-kit) ;; *) skip "needs a SoftHSM2 token of its own" ;; esac
    cd "$BATS_FILE_TMPDIR" || return
    local softhsm label folder
    softhsm=$(find /usr/lib /usr/lib64 /usr/local/lib -name libsofthsm2.so 2>/dev/null | head -n 1)
    cp -L "$softhsm" copy.so
    mkdir tokens
    write_conf
    for label in first second; do
        softhsm2-util --init-token --free --label $label --pin "$KW_PIN" --so-pin 87654321 >/dev/null
        for folder in tokens/*-*; do mv "$folder" tokens/$label; done
    done
    for label in shared other third; do
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $label.pem 2>/dev/null
    done
    settings "$(first_module)" >keyward.conf
    on a key import shared.pem --name shared --id 5a5a --no-expiry
    on b key import shared.pem --name elsewhere --id 5a5a --no-expiry
    on a key import other.pem --name namesake --id 6b6b --no-expiry
    on b key import third.pem --name namesake --id 7c7c --no-expiry
    on a seal "$E2E/src" --out drop --key shared
    on a seal "$E2E/src" --out drop-namesake --key namesake
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp -r "$BATS_FILE_TMPDIR"/{tokens,drop,drop-namesake} .
    write_conf
    settings "$(first_module)" >keyward.conf
}

write_conf() {
    printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' \
        "$PWD" >softhsm2.conf
    export SOFTHSM2_CONF=$PWD/softhsm2.conf
}

softhsm_only() { [ "$KW_TEST_TOKEN_KIND" = softhsm ] || skip "needs the module with faults"; }
p11kit_only() { [ "$KW_TEST_TOKEN_KIND" = p11-kit ] || skip "needs a server of p11-kit's"; }

first_module() { printf '%s' "$KW_TEST_MODULE"; }
faulty_module() {
    local module
    module=$(dirname "$KW_PROGRAM")/tests/pkcs11/kw_fault_module.so
    [ -e "$module" ] || skip "the module with faults is not built"
    export KW_FAULT_REAL_MODULE=$KW_TEST_MODULE
    settings "$module" >keyward.conf
}

# settings MODULE: with that of the first token. $first_pin and $second_pin are files, other than the
# one with the right PIN.
settings() {
    local label=first
    [ "$KW_TEST_TOKEN_KIND" = softhsm ] || label=keyward
    printf '[token b]\nmodule = %s/copy.so\nuri = pkcs11:token=second\ntimeout = 1\n' \
        "$BATS_FILE_TMPDIR"
    printf 'pin-source = file:%s\n' "${second_pin:-$KW_TEST_PIN_FILE}"
    printf '[token a]\nmodule = %s\nuri = pkcs11:token=%s\ntimeout = 1\n' "$1" $label
    printf 'pin-source = file:%s\n' "${first_pin:-$KW_TEST_PIN_FILE}"
    printf 'failover = b\nfailover-probe = 1\n'
    printf '[audit]\ndir = %s/trail\n[run]\ntoken = a\n' "$PWD"
    # The module with faults, and the copy, are none that the program knows.
    printf '[sandbox]\nwrite = %s\n' "$PWD"
}

configured() { keyward "$@" --config keyward.conf; }
# on TOKEN COMMAND...: on one token and no other.
on() { configured "${@:2}" --token "$1"; }

# What is on the trail of tokens, in the order in which it happened.
story() {
    configured audit show --json | jq -r 'select(.op | test("^(unwrap|token[.])"))
        | [.op, .phase // empty, .key.token, .status // empty] | join(" ")'
}
told() { diff - <(story); }

@test "a token that hangs: the other one unwraps, and that is warned of, reported and on record" {
    softhsm_only
    faulty_module
    KW_FAULT_SCRIPT="C_Decrypt hang" expect 0 configured decrypt drop --out out --report report.json
    warns '\[token a\] failed and \[token b\] serves instead: the token "first" did not answer within 1 s'
    whole
    [ "$(jq -r '.key.token + " " + .key.label' report.json)" = "second elsewhere" ]
    told <<'STORY'
unwrap intent first
unwrap outcome first token
token.failover second
unwrap intent second
unwrap outcome second ok
STORY
    configured audit show --json | jq -se 'map(select(.op == "token.failover"))
        | length == 1 and .[0].ck_rv == "0xcb570001"
        and (.[0].detail | test("^\\[token b\\] serves in the place of \\[token a\\] \\(token first, serial [0-9a-f]+\\): "))
        and .[0].key.serial != ""'
    # Signed by the token that serves.
    configured audit verify | grep -q -E '([0-9]+) records, \1 of them signed'
    grep -q "^keyward/$(jq -r .key.token_serial report.json)/" trail/checkpoints/*[0-9]
}

@test "a token that is away from the start: the other one's key is found by the same version" {
    softhsm_only
    mv tokens/first away
    expect 0 configured decrypt drop --out out
    warns '\[token a\] failed and \[token b\] serves instead: '
    whole
    told <<<$'token.failover second\nunwrap intent second\nunwrap outcome second ok'
    configured cat drop a.json >plain 2>said
    cmp plain "$E2E/src/a.json"
    grep -q 'token b\] serves instead' said
    configured audit verify
}

@test "both tokens away: exit 6, with a word on each" {
    softhsm_only
    mv tokens/* .
    expect 6 configured decrypt drop --out out
    says 'first.*and \[token b\] can.t serve instead: '
    assert_no_files out
    [ "$(story)" = "" ]
}

@test "a wrong PIN is told: exit 3, and the other token is not asked" {
    softhsm_only
    printf '99999999\n' >wrong
    chmod 600 wrong
    first_pin=$PWD/wrong settings "$KW_TEST_MODULE" >keyward.conf
    expect 3 configured decrypt drop --out out
    says 'the token "first" refused the PIN'
    refute says 'token b'
    mv tokens/first/token.object . # no PIN can be wrong where there is no token
    expect 0 configured decrypt drop --out out
    rm -r out
    # The other one's: the first one's failure is what there is to mend.
    second_pin=$PWD/wrong settings "$KW_TEST_MODULE" >keyward.conf
    expect 6 configured decrypt drop --out out
    says 'and \[token b\] can.t serve instead: the token "second" refused the PIN'
    assert_no_files out
}

@test "another key of that name is not used, nor any key that is not the same" {
    softhsm_only
    faulty_module
    KW_FAULT_SCRIPT="C_Decrypt hang" expect 6 configured decrypt drop-namesake --out out
    says 'is called like "namesake" is another key, with another modulus'
    assert_no_files out
    told <<<$'unwrap intent first\nunwrap outcome first token'
}

@test "a key that is disabled on the other token is not used there: exit 5" {
    softhsm_only
    faulty_module
    on b key disable elsewhere
    KW_FAULT_SCRIPT="C_Decrypt hang" expect 5 configured decrypt drop --out out
    says 'key "elsewhere" is disabled'
    assert_no_files out
    story | tail -n 2 | diff - <(printf 'unwrap intent second\nunwrap outcome second key-unusable\n')
    # On the first one: that it is refused there is no failure of the token.
    on b key enable elsewhere
    on a key disable shared
    expect 5 configured decrypt drop --out out
    says 'key "shared" is disabled'
    refute says 'token b'
}

@test "what is not unwrapping acts on the token that is named and on no other" {
    softhsm_only
    mv tokens/first away
    on b key list --json >before
    expect 6 configured inspect drop
    expect 6 configured key list
    expect 6 configured key create fresh --no-expiry
    expect 6 configured key disable elsewhere
    expect 6 configured seal "$E2E/src" --out sealed --key elsewhere
    on b key list --json >after
    diff before after
    configured audit show --json | jq -se 'map(select(.op | test("^token"))) == []'
}

@test "kill -9 while it changes over: the trail is whole, and the run can be gone on with" {
    softhsm_only
    faulty_module
    local moment pid
    keep_token
    for moment in 0.5 1.02 1.04; do
        rm -rf out
        KW_FAULT_SCRIPT="C_Decrypt hang" "$KW_PROGRAM" decrypt drop --out out --config keyward.conf \
            2>/dev/null &
        pid=$!
        sleep $moment
        kill -9 $pid 2>/dev/null || true
        wait $pid || true
        give_token_back
        configured audit verify >/dev/null
        diff -r "$E2E/src" out >/dev/null 2>&1 || configured decrypt drop --out out --resume
        whole
    done
    # None was unwrapped there without a word before.
    configured audit show --json | jq -se '[.[] | select(.op == "unwrap" and .key.token == "second")]
        | ([.[] | select(.phase == "outcome")] | length) as $done
        | ([.[] | select(.phase == "intent")] | length) >= $done'
}

@test "a program that runs for long goes back to the first token" {
    local stream file
    stream=$(dirname "$KW_PROGRAM")/tests/api/kw_stream
    [ -x "$stream" ] || skip "the program is not built"
    file=$(stat -c %s "$E2E/src/a.json")
    # Data keys that were unwrapped once are not unwrapped again.
    for number in 1 2 3 4; do on b seal "$E2E/src/a.json" --out "drop$number" --key elsewhere; done
    coproc LONG { "$stream" keyward.conf; }
    ask() { printf '%s\n' "$1" >&"${LONG[1]}" && read -r -t 20 answer <&"${LONG[0]}" && [ "$answer" = "ok $file" ]; }
    ask drop1
    take_away
    ask drop2
    give_back
    for _ in {1..100}; do
        story | grep -q token.return && break
        sleep 0.1
    done
    ask drop3
    kill -9 "$LONG_PID" # and it would have gone on
    told <<STORY
unwrap intent $(first_label)
unwrap outcome $(first_label) ok
unwrap intent $(first_label)
unwrap outcome $(first_label) token
token.failover second
unwrap intent second
unwrap outcome second ok
token.return $(first_label)
unwrap intent $(first_label)
unwrap outcome $(first_label) ok
STORY
    configured audit verify
}

first_label() { if [ "$KW_TEST_TOKEN_KIND" = softhsm ]; then echo first; else echo keyward; fi; }

# p11-kit's server is killed and started again; SoftHSM2's folder is moved away and back.
take_away() {
    if [ "$KW_TEST_TOKEN_KIND" = softhsm ]; then
        mv tokens/first away
    else
        local server
        server=$(cat "$(dirname "$KW_TEST_PIN_FILE")/server.pid")
        # With what it started for each client.
        mapfile -d ' ' -t children <"/proc/$server/task/$server/children"
        kill -9 "$server" "${children[@]}"
    fi
}
give_back() {
    if [ "$KW_TEST_TOKEN_KIND" = softhsm ]; then
        mv away tokens/first
    else
        # The server stays: it must not hold what bats waits for.
        "$BATS_TEST_DIRNAME/../../hsm-setup/p11-kit" "$(dirname "$KW_TEST_PIN_FILE")" \
            >/dev/null 2>&1 3>&-
    fi
}

@test "a configuration with a failover that can't be is refused with its line" {
    printf '[token a]\nfailover = nowhere\n' >bad.conf
    expect 3 keyward key list --config bad.conf
    says 'bad.conf:2: failover names no \[token\]'
}

# A watch of an empty inbox, whose first token hangs.
start_idle_watch() {
    faulty_module
    sed -i 's/^failover = b/&\ngive-up = 1/' keyward.conf
    mkdir inbox
    KW_FAULT_SCRIPT="C_Login hang" timeout 60 "$KW_PROGRAM" watch inbox --out out --marker _SUCCESS \
        --config keyward.conf 2>watch.log &
    watch=$!
}

@test "a watch whose first token hangs for too long goes on while the other one serves" {
    softhsm_only
    start_idle_watch
    sleep 5
    cp -R drop inbox/one
    touch inbox/one/_SUCCESS
    until_true test -d inbox/.done/one
    kill -TERM $watch
    local code=0
    wait $watch || code=$?
    [ "$code" -eq 130 ]
    diff -r "$E2E/src" out/one
}

@test "it ends, and is not to be started again, where the PIN of the other one is refused" {
    softhsm_only
    printf '99999999\n' >wrong
    chmod 600 wrong
    second_pin=$PWD/wrong start_idle_watch
    local code=0
    wait $watch || code=$?
    [ "$code" -eq 3 ]
    grep -q 'PIN' watch.log
}
