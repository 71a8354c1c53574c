# What a token really does, tried out on it.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

doctor() { keyward token doctor --token "$KW_TEST_TOKEN" "$@"; }
objects() {
    pkcs11-tool --module "$KW_TEST_MODULE" --token-label keyward --login --pin env:KW_PIN \
        --list-objects | grep -c 'Object;' || true
}

@test "token doctor tells what the token does, and leaves nothing on it" {
    before=$(objects)
    [ "$before" -gt 0 ]
    expect 0 doctor
    [ -z "$stderr" ]
    grep -q -E '^its module is one known here +yes +[A-Za-z0-9-]+.*;' <<<"$output"
    grep -q -E '^decrypts RSA-OAEP +yes' <<<"$output"
    grep -q -E '^decrypts for a second +yes +[1-9][0-9]* a second' <<<"$output"
    grep -q -E '^unwrap data keys +yes$' <<<"$output"
    [ "$(objects)" -eq "$before" ]
}

@test "token doctor --json has each probe with its answer, and the verdicts" {
    expect 0 doctor --json
    python3 -c '
import json, sys
report = json.load(sys.stdin)
assert report["schema"] == "keyward-doctor-1" and report["token"]["label"] == "keyward"
probes = {probe["name"]: probe for probe in report["probes"]}
assert len(probes) == len(report["probes"]) >= 18
assert all(probe["answer"] in ("yes", "no", "unknown") for probe in probes.values())
assert probes["quirks"]["details"].split(";")[0] == {
    "softhsm": "SoftHSM2", "opencryptoki": "opencryptoki", "nss": "NSS softokn", "tpm2": "tpm2-pkcs11",
    "p11-kit": "p11-kit", "kryoptic": "kryoptic"}[sys.argv[1]]
assert probes["decrypts-a-second"]["number"] > 0 and probes["sessions"]["number"] == 64
assert set(report["verdicts"]) == {"unwrap", "byok-out", "byok-in", "sign-audit"}
assert report["verdicts"]["unwrap"] == "yes" and report["verdicts"]["sign-audit"] == "yes"
' "$KW_TEST_TOKEN_KIND" <<<"$output"
}

@test "the verdicts on byok are true" {
    out=$(doctor --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["verdicts"]["byok-out"])')
    key=$(python3 -c 'import uuid; print(uuid.uuid4())')
    keyward key create "$key" --no-expiry --exportable --token "$KW_TEST_TOKEN"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out kek.pem 2>/dev/null
    openssl pkey -in kek.pem -pubout -out kek.pub
    code=5
    [ "$out" = yes ] && code=0
    expect "$code" keyward byok export "$key" --kek kek.pub --out key.byok --token "$KW_TEST_TOKEN" \
        --kid https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef
}

@test "token doctor takes the token as its operand too, but once" {
    expect 0 keyward token doctor "$KW_TEST_TOKEN"
    grep -q -E '^unwrap data keys +yes$' <<<"$output"
    expect 3 keyward token doctor nonesuch
    says nonesuch
    expect 2 doctor "$KW_TEST_TOKEN"
    says 'named twice'
    expect 2 keyward token doctor "$KW_TEST_TOKEN" "$KW_TEST_TOKEN"
    says 'usage: keyward token doctor'
}

@test "token doctor says in JSON why there is no diagnosis" {
    expect 6 keyward token doctor --json \
        --token "pkcs11:token=nonesuch?module-path=$KW_TEST_MODULE&pin-source=file:$KW_TEST_PIN_FILE"
    python3 -c 'import json, sys; assert json.load(sys.stdin)["error"]["status"]' <<<"$output"
}
