# Keys: made, rotated, changed, shown, and held against the rules of services.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

key() { keyward key "$@" --token "$KW_TEST_TOKEN"; }

# A name that no other test has, and that Data Connect takes.
tenant() { python3 -c 'import uuid; print(uuid.uuid4())'; }

# ids NAME: of all versions, one a line.
ids() { key show "$1" --json | python3 -c 'import json,sys; [print(k["id"]) for k in json.load(sys.stdin)["keys"]]'; }

@test "a new key can't leave the token, has its dates, and fits Data Connect" {
    name=$(tenant)
    expect 0 key create "$name" --expires 2031-12-31 --not-before 2026-01-01 --json
    python3 -c '
import json, sys
key, = json.load(sys.stdin)["keys"]
assert key["label"] == sys.argv[1] and key["bits"] == 2048 and len(key["id"]) == 32
assert key["sensitive"] and not key["extractable"] and key["decrypt"] and key["unwrap"]
assert (key["not_before"], key["expires"]) == ("2026-01-01", "2031-12-31")
' "$name" <<<"$output"
    expect 0 key check "$name" --for data-connect
    expect 5 key check "$name" --for customer-key
    says 'rules failed'
    grep -q 'KeyExpiry .*Failed' <<<"$output"
    expect 5 key check nonesuch --for customer-key --json
    grep -q '"exit_code":.*5' <<<"$output"
    expect 2 key check "$name" --json
    grep -q '"exit_code":.*2' <<<"$output"
    # The name is as it was given, whatever bytes it has.
    expect 0 pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --keypairgen --key-type rsa:2048 --label $'bad\xff'"$name"
    expect 5 key check $'bad\xff'"$name" --for customer-key --json
    iconv -f UTF-8 -t UTF-8 <<<"$output"
    expect 5 key check "$name" --for customer-key --json
    python3 -c '
import json, sys
document = json.load(sys.stdin)
assert document["passed"] is False
assert {"KeyExpiry", "KeyRecovery", "KeyBackup", "KeyCount"} == {r["RuleName"] for r in document["rules"] if r["Result"] == "Failed"}
' <<<"$output"
}

@test "a new key decrypts what is sealed to it, and its next version too" {
    name=$(tenant)
    expect 0 key create "$name" --no-expiry
    old=$(ids "$name")
    keyward seal "$E2E/src" --out drop1 --token "$KW_TEST_TOKEN" --key "$name"
    expect 0 key rotate "$name" --expires 2031-12-31
    [ "$(ids "$name" | wc -l)" -eq 2 ]
    new=$(ids "$name" | grep -v "$old")
    # The name alone is no longer one key.
    expect 5 keyward seal "$E2E/src" --out drop2 --token "$KW_TEST_TOKEN" --key "$name"
    keyward seal "$E2E/src" --out drop2 --token "$KW_TEST_TOKEN" --key "$new"
    for drop in drop1 drop2; do
        expect 0 keyward decrypt "$drop" --out "out-$drop" --token "$KW_TEST_TOKEN"
        diff -r "$E2E/src" "out-$drop"
    done
}

@test "a name that is taken, one that is not there, and what makes no sense" {
    name=$(tenant)
    expect 0 key create "$name" --no-expiry
    expect 8 key create "$name" --no-expiry
    says 'key rotate'
    expect 5 key rotate nonesuch --no-expiry
    expect 2 key create other
    says '--no-expiry'
    expect 2 key create other --expires 2031-12-31 --no-expiry
    expect 2 key create other --expires 2031-02-30
    expect 2 key create other --expires tomorrow
    expect 2 key create other --no-expiry --bits 1024
    expect 2 key create 'a b' --no-expiry
    expect 2 key create '' --no-expiry
    expect 5 key show other
    [ "$(ids "$name" | wc -l)" -eq 1 ]
}

@test "dates are changed and taken away; an expired key decrypts with a warning and wraps nothing" {
    name=$(tenant)
    expect 0 key create "$name" --expires 2031-12-31
    keyward seal "$E2E/src" --out drop --token "$KW_TEST_TOKEN" --key "$name"
    expect 0 key set "$name" --expires 2020-01-01
    expect 5 key check "$name" --for data-connect
    expect 5 keyward seal "$E2E/src" --out drop2 --token "$KW_TEST_TOKEN" --key "$name"
    says 'expired on 2020-01-01'
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    warns 'expired on 2020-01-01'
    expect 0 key set "$name" --no-expiry --label "$name-renamed"
    expect 0 key show "$name-renamed"
    refute grep -q 2020-01-01 <<<"$output"
    expect 2 key set "$name-renamed"
}

@test "key show gives a public half that others read, in PEM and as JWK" {
    expect 0 key show e2e
    sed -n '/^-----BEGIN/,/^-----END/p' <<<"$output" >public.pem
    modulus=$(openssl pkey -pubin -in public.pem -noout -text | grep -A 20 Modulus | tr -d ' :\n' |
        sed 's/^Modulus00//; s/Exponent.*//')
    expect 0 key show e2e --json
    python3 -c '
import base64, json, sys
document = json.load(sys.stdin)
key = document["keys"][0]
n = key["jwk"]["n"]
assert base64.urlsafe_b64decode(n + "=" * (-len(n) % 4)).hex() == sys.argv[1] == key["modulus"]
assert document["token"]["label"] == "keyward" and document["token"]["serial"]
' "$modulus" <<<"$output"
    # What is sealed to that file comes back.
    keyward seal "$E2E/src" --out drop --public-key public.pem --key-version "$KW_KEY_ID"
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    diff -r "$E2E/src" out
}
