# shellcheck shell=bash
# The part of hsm-setup/quickstart that --service asks for: sourced by it, not run.
# shellcheck disable=SC2154 # root, dir, keyward, and what it has of the token

issuer_url=https://issuer.example/trial
audience=https://hsm.example
day=86400

# Python with Azure's client if pip can install it, else one that can at least sign tokens, else none.
find_python() {
    local lock=tests/clients/python/requirements.lock venv=$dir/venv
    azure='' python=''
    if ! (need_packages python3 python3-venv python3-cryptography); then
        step "going on without what could not be installed"
    fi
    if ! sha256sum --status --check "$venv/installed" 2>/dev/null; then
        step "installing Azure's client azure-keyvault-keys to $venv"
        rm -rf "$venv"
        if python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check \
            --retries 1 --timeout 20 --require-hashes -r "$lock"; then
            sha256sum "$lock" >"$venv/installed"
        fi >"$dir/pip.log" 2>&1
    fi
    if [ -e "$venv/installed" ]; then
        azure=yes python=$venv/bin/python
    elif python3 -c 'import cryptography' 2>/dev/null; then
        step "it can't be had, see $dir/pip.log: curl is the client"
        python=python3
    else
        step "neither can a signer of tokens: curl is the client, known by its certificate"
    fi
}

make_certificates() {
    if [ -e "$here/tls/ca.pem" ]; then
        step "the certificates are in $here/tls already"
    else
        step "making a CA, and certificates of the service and of two clients, in $here/tls"
        quiet "making certificates" \
            hsm-setup/certificates --client officer --client app "$here/tls"
    fi
}

# A client's header, for curl's option that keeps it out of the list of arguments.
issue_token() {
    (
        umask 077
        "$python" -B tests/tools/issuer.py issue "$here/issuer" --iss "$issuer_url" \
            --aud "$audience" --for "$day" --sub "$1" >"$here/$1.token"
        sed 's/^/Authorization: Bearer /' "$here/$1.token" >"$here/$1.header"
    )
}

make_tokens() {
    local name
    if [ ! -e "$here/issuer/jwks.json" ]; then
        step "making the key of a trial issuer of tokens in $here/issuer"
        quiet "making the issuer's key" "$python" -B tests/tools/issuer.py keys "$here/issuer"
    fi
    step "issuing tokens of two clients, good for a day"
    for name in officer app; do
        issue_token "$name"
    done
}

# Who changes keys can't use them, and who uses them can't change them.
write_service_config() {
    local name
    start_config "$config"
    cat >>"$config" <<END

[listener vault]
address = 127.0.0.1:0
host = localhost
resource = $audience
certificate = $root/$here/tls/server.pem
key = $root/$here/tls/server-key.pem
client-ca = $root/$here/tls/ca.pem

[listener status]
address = 127.0.0.1:0
END
    if [ -n "$python" ]; then
        cat >>"$config" <<END

[issuer trial]
issuer = $issuer_url
audience = $audience
jwks = $root/$here/issuer/jwks.json
END
    fi
    for name in "officer:Crypto Officer" "app:Crypto User"; do
        cat >>"$config" <<END

[client ${name%%:*}]
subject = ${name%%:*}
roles = Key Vault ${name#*:}: *; Monitoring Reader: *
END
        [ -z "$python" ] || printf 'issuer = trial\nclaim = sub=%s\n' "${name%%:*}" >>"$config"
    done
}

# ---- the process ----

service_pid=''
stop_service() {
    local code=0
    [ -n "$service_pid" ] || return 0
    kill -s TERM "$service_pid" 2>/dev/null || true
    wait "$service_pid" || code=$?
    service_pid=''
    return "$code"
}

# port_of LISTENER, from the line that says that it is there.
port_of() { sed -n "s,^$1: https\{0\,1\}://127\.0\.0\.1:\([0-9]*\)$,\1,p" "$here/listeners"; }

start_service() {
    : >"$here/listeners"
    printf '\n$ %s serve &\n' "${kw[*]}"
    "${kw[@]}" serve >"$here/listeners" 2>"$here/log" &
    service_pid=$!
    trap 'stop_service || true' EXIT
    # shellcheck disable=SC2317 # answers calls it
    listens() { [ -n "$(port_of vault)" ] && [ -n "$(port_of status)" ]; }
    # shellcheck disable=SC2317
    is_ready() { curl --silent --fail "http://127.0.0.1:$(port_of status)/health/ready"; }
    if ! answers 30 listens || ! answers 30 is_ready; then
        cat "$here/log" >&2
        fail "the service is not ready after 30 seconds; $here/log is what it says"
    fi
    cat "$here/listeners"
    url=https://localhost:$(port_of vault)
}

# ---- clients ----

# ask CLIENT PATH [JSON]: GET, or POST of the JSON, as that client; prints the command and the answer.
ask() {
    local who=$1 path=$2 json=${3:-}
    local command=(curl --silent --show-error --fail-with-body --cacert "$here/tls/ca.pem")
    if [ -n "$python" ]; then
        command+=(--header "@$here/$who.header")
    else
        command+=(--cert "$here/tls/$who.pem" --key "$here/tls/$who-key.pem")
    fi
    [ -z "$json" ] || command+=(--json "$json")
    command+=("$url$path?api-version=7.6")
    print_command "${command[@]}"
    answer=$("${command[@]}") || fail "the service answered: $answer"
    printf '%s\n' "$answer"
}

# field NAME, of the last answer.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$answer"; }

wrap_with_curl() {
    local wrapped original
    original=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    step "wrapping a data key of 256 bits that protects nothing, so that it may be shown"
    ask app "/keys/$key/wrapkey" "{\"alg\":\"RSA-OAEP-256\",\"value\":\"$original\"}"
    wrapped=$(field value)
    step "unwrapping it, which only the token can"
    ask app "/keys/$key/unwrapkey" "{\"alg\":\"RSA-OAEP-256\",\"value\":\"$wrapped\"}"
    [ "$(field value)" = "$original" ] || fail "what came back is another data key"
    step "it is the same data key"
}

wrap_with_azure() {
    step "wrapping and unwrapping a data key with Azure's client: docs/client.py"
    show "$python" -B docs/client.py "$url" "$key" --ca "$here/tls/ca.pem" \
        --token "$here/app.token" --any-host
}

# ---- all of it ----

say_how_to_go_on() {
    local line renew=
    if [ -n "$python" ]; then
        line="-H @$here/app.header"
        renew="
Tokens are good for a day; this makes another one:
  $python tests/tools/issuer.py issue $here/issuer --iss $issuer_url --aud $audience --for $day --sub app >$here/app.token
  sed 's/^/Authorization: Bearer /' $here/app.token >$here/app.header
"
    else
        line="--cert $here/tls/app.pem --key $here/tls/app-key.pem"
    fi
    cat <<END

To start it again by hand, in $root:
  . $dir/token/env
  export XDG_STATE_HOME=$XDG_STATE_HOME
  ${kw[*]} serve

It prints the address of each listener, and stops at Ctrl-C. From another terminal, with its port:
  curl --cacert $here/tls/ca.pem $line 'https://localhost:PORT/keys?api-version=7.6'
$renew
What it did, and who asked:
  ${kw[*]} audit show --client app

A configuration for more than a trial is in docs/service.md.

END
}

try_service() {
    local before
    here=$dir/service
    config=$here/keyward.conf
    key=trial
    kw=("$keyward" --config "$config")
    # What it remembers of usual requests belongs to the trial too.
    export XDG_STATE_HOME=$root/$here/state
    need_packages curl openssl
    mkdir -p "$here"
    find_python
    make_certificates
    [ -z "$python" ] || make_tokens
    step "writing the configuration $config"
    write_service_config
    step "starting the service"
    start_service
    before=$(date --utc +%Y-%m-%dT%H:%M:%S)
    if [ -n "$(private_key)" ]; then
        step "the key \"$key\" is there already; asking for it as the client \"app\""
        ask app "/keys/$key"
    else
        step "making the key \"$key\" through the API, as the client \"officer\""
        ask officer "/keys/$key/create" \
            '{"kty":"RSA","key_size":2048,"key_ops":["wrapKey","unwrapKey"]}'
    fi
    check_private_key
    if [ -n "$azure" ]; then
        wrap_with_azure
    else
        wrap_with_curl
    fi
    step "stopping the service"
    stop_service || fail "it did not end well; $here/log is what it says"
    step "what the audit trail says of this:"
    show "${kw[@]}" audit show --key "$key" --from "$before"
    say_how_to_go_on
    step "done: a client wrapped and unwrapped a data key, with a key that never left its token"
}
