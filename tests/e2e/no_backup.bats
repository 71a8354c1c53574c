# A token that wraps no RSA key as RFC 5649 has it: opencryptoki's.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    [ "$KW_TEST_TOKEN_KIND" = opencryptoki ] || skip "needs an opencryptoki token"
    cd "$BATS_TEST_TMPDIR" || return
}

@test "a token that can't back a key up says so, and there is no file" {
    key=$(python3 -c 'import uuid; print(uuid.uuid4())')
    keyward key create "$key" --no-expiry --exportable --token "$KW_TEST_TOKEN"
    keyward key create "$key-kek" --no-expiry --token "$KW_TEST_TOKEN"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out kek.pem 2>/dev/null
    openssl pkey -in kek.pem -pubout -out kek.pub
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN --keygen \
        --key-type AES:32 --label "$key-aes" --id 0a --sensitive --usage-wrap >/dev/null 2>&1
    for kek in kek.pub "pkcs11:object=$key-kek" "pkcs11:object=$key-aes"; do
        expect 5 keyward key backup "$key" --to x.backup --kek "$kek" --token "$KW_TEST_TOKEN"
        says 'RFC 5649'
    done
    [ ! -e x.backup ]
}

@test "a key that software made comes in from a file" {
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
    expect 0 keyward key import key.pem --name imported --no-expiry --token "$KW_TEST_TOKEN"
    warns 'made by software'
    keyward seal "$E2E/src" --out drop --key imported --token "$KW_TEST_TOKEN"
    expect 0 keyward decrypt drop --out out --token "$KW_TEST_TOKEN"
    diff -r "$E2E/src" out
}
