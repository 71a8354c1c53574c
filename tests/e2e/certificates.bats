# hsm-setup/certificates: what it makes is what TLS wants, and nothing of it is ever lost.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

certificates() { "$BATS_TEST_DIRNAME/../../hsm-setup/certificates" "$@"; }

# good FILE PURPOSE [OPTION...]
good() { openssl verify -x509_strict -CAfile d/ca.pem -purpose "$2" "${@:3}" "d/$1.pem"; }

# refused PATTERN OPTION...: it fails, says that, and changes nothing in d.
refused() {
    local before pattern=$1
    before=$(sums)
    run -1 certificates "${@:2}"
    grep -q -e "$pattern" <<<"$output"
    [ "$(sums)" = "$before" ]
}
sums() { find d -type f -exec sha256sum {} + 2>/dev/null | sort; }

# pair NAME: the key is the certificate's.
pair() {
    [ "$(openssl x509 -in "d/$1.pem" -noout -pubkey)" = \
        "$(openssl pkey -in "d/$1-key.pem" -pubout)" ]
}

@test "a CA, a server and clients that it vouches for, each for its own use" {
    certificates --client app --client azure-1.pool d
    for name in server app azure-1.pool; do
        pair "$name"
    done
    good server sslserver
    good app sslclient
    good azure-1.pool sslclient
    refute good server sslclient
    refute good app sslserver
    for host in localhost vault.hsm.example; do
        good server sslserver -verify_hostname "$host"
    done
    good server sslserver -verify_ip 127.0.0.1
    refute good server sslserver -verify_hostname other.example
    openssl x509 -in d/app.pem -noout -subject -ext subjectAltName >shown
    grep -x 'subject=CN = app' shown
    grep -q 'URI:urn:keyward:app$' shown
}

@test "keys are on P-256 and nobody else's to read, in any umask" {
    (umask 000 && certificates --client app d)
    [ "$(stat -c %a d)" = 700 ]
    for name in ca server app; do
        [ "$(stat -c %a "d/$name-key.pem")" = 600 ]
        openssl pkey -in "d/$name-key.pem" -noout -text | grep -q 'NIST CURVE: P-256'
    done
    [ "$(find d -name '.*' -mindepth 1 | wc -l)" -eq 0 ]
}

@test "the server's names are those that are given" {
    certificates d kms.example.org 10.1.2.3 fd00::7
    good server sslserver -verify_hostname kms.example.org
    good server sslserver -verify_ip 10.1.2.3
    good server sslserver -verify_ip fd00::7
    refute good server sslserver -verify_hostname localhost
}

@test "nothing is overwritten" {
    certificates --client app d
    refused 'has a CA already' d
    refused '"*app* already' --client app d
    refused 'app already' --client other --client app d
    refused 'renew makes it anew' --client other d other.example
    rm d/app.pem
    refused 'app already' --client app d
    rm d/ca.pem
    refused 'ca already' d
    refused 'no d/ca.pem' --renew d
}

@test "a client is added to a CA that is there" {
    certificates d
    before=$(sums)
    certificates --client late d
    good late sslclient
    rm d/late.pem d/late-key.pem
    [ "$(sums)" = "$before" ]
}

@test "--renew makes the server's pair anew, and nothing else, for the same names or others" {
    certificates --client app d one.example 127.0.0.2 fd00::9
    others=$(sums | grep -v server)
    cp d/server.pem old.pem
    certificates --renew d
    refute cmp old.pem d/server.pem
    pair server
    for check in '-verify_hostname one.example' '-verify_ip 127.0.0.2' '-verify_ip fd00::9'; do
        # shellcheck disable=SC2086 # two words
        good server sslserver $check
    done
    certificates --renew d two.example
    good server sslserver -verify_hostname two.example
    refute good server sslserver -verify_hostname one.example
    [ "$(sums | grep -v server)" = "$others" ]
}

@test "names that are none are refused" {
    for name in '' ../app 'a b' 'a/b' $'a\nb' -x ca server app-key "$(printf 'a%.0s' {1..65})"; do
        run -1 certificates --client "$name" d
        [[ $output == *"can't be a client's name"* ]]
    done
    for host in 'a b' 'a,b' $'a\nCN=b' '"' 'a$' 'a;b'; do
        run -1 certificates d "$host"
        [[ $output == *"is no host's name or address"* ]]
    done
    run -1 certificates --client
    run -1 certificates --wrong d
    run -2 certificates
    [ ! -e d ]
}
