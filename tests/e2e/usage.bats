# The command line itself: help, and what makes no sense.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

# What each subcommand's --help has to list.
declare -A options=(
    [decrypt]="--out --token --key --unwrap-alg --decompress --jobs --digest --force
        --with-metadata --copy-unencrypted --include --exclude --json --report --progress
        --no-progress --quiet --help"
    [inspect]="--token --key --json --help"
    [cat]="--token --key --unwrap-alg --decompress --help"
    [seal]="--out --public-key --key --token --help"
    ["key list"]="--token --json --help"
    ["key show"]="--token --json --help"
    ["key create"]="--bits --expires --no-expiry --not-before --exportable --token --json --help"
    ["key rotate"]="--bits --expires --no-expiry --not-before --exportable --token --json --help"
    ["key set"]="--label --expires --no-expiry --not-before --token --json --help"
    ["key check"]="--for --with --with-token --token --json --help"
    ["byok export"]="--kek --kid --out --force --token --help"
    ["byok import"]="--kek --name --expires --no-expiry --exportable --token --json --help"
    ["byok inspect"]="--help"
    ["token list"]="--token --json --help"
    ["token init"]="--module --pin-source --so-pin-source --quiet --help"
    ["token doctor"]="--token --json --help"
    [version]="--help"
)

@test "every subcommand's --help ends with 0 and lists its options" {
    for subcommand in "${!options[@]}"; do
        # shellcheck disable=SC2086 # two words may be a subcommand
        expect 0 keyward $subcommand --help
        [ -z "$stderr" ]
        for option in ${options[$subcommand]}; do
            grep -q -e "$option\b" <<<"$output" || {
                echo "$subcommand --help has no $option"
                return 1
            }
        done
    done
}

@test "every option that --help shows for decrypt is accepted by name" {
    expect 0 keyward decrypt --help
    while read -r option; do
        [ "$option" = --help ] && continue
        # It gets as far as the operand that is missing, or the option's argument.
        expect 2 keyward decrypt "$option"
        refute grep -q -i 'unknown option\|no option' <<<"$stderr"
    done < <(grep -o -e '--[a-z0-9-]*' <<<"$output" | sort -u)
}

@test "every subcommand that help names has help of its own" {
    expect 0 keyward help
    names=$(sed -n 's/^  \([a-z ]*[a-z]\)  .*/\1/p' <<<"$output")
    [ "$(wc -l <<<"$names")" -gt 30 ]
    while read -r name; do
        # shellcheck disable=SC2086 # two words may be a subcommand
        expect 0 keyward $name --help
        [[ $output == "usage: keyward $name "* ]]
        # shellcheck disable=SC2086
        expect 0 keyward help $name
        [[ $output == "usage: keyward $name "* ]]
    done <<<"$names"
}

@test "help for the first word of subcommands lists these and no others" {
    for ask in "key --help" "key -h" "help key"; do
        # shellcheck disable=SC2086 # the words
        expect 0 keyward $ask
        grep -q '^  key list ' <<<"$output"
        grep -q '^  key restore ' <<<"$output"
        refute grep -q '^  token\|^  byok' <<<"$output"
        [ -z "$stderr" ]
    done
    expect 0 keyward help byok kek
    [ "$(grep -c '^  byok kek ' <<<"$output")" -eq 2 ]
    refute grep -q 'byok export' <<<"$output"
}

@test "the first word of subcommands alone is a usage error that says what to ask" {
    for words in key token "byok kek" "key --json"; do
        # shellcheck disable=SC2086 # the words
        expect 2 keyward $words
        [ -z "$output" ]
        says "keyward help ${words% --json} lists them"
    done
    expect 2 keyward byok kek make
    says '"byok kek make"; keyward help byok kek'
    expect 2 keyward help nothing
    says '"nothing"'
}

@test "help names every subcommand" {
    expect 0 keyward help
    for subcommand in decrypt inspect cat seal key token version help; do
        grep -q -w "$subcommand" <<<"$output"
    done
    expect 0 keyward --help
}

@test "version names the program and a number" {
    expect 0 keyward version
    [[ $output =~ ^keyward\ [0-9]+\.[0-9]+\.[0-9]+ ]]
}

@test "nothing at all is a usage error" {
    expect 2 keyward
}

@test "an unknown subcommand is named" {
    expect 2 keyward decypt
    says 'decypt'
    expect 2 keyward key lst
}

@test "an unknown option is named" {
    expect 2 keyward decrypt x --out y --fast
    says -- '--fast'
    expect 2 keyward --fast decrypt x --out y
}

@test "a missing or surplus argument is a usage error" {
    expect 2 keyward decrypt
    expect 2 keyward decrypt "$E2E/drop"
    says -- '--out'
    expect 2 keyward decrypt "$E2E/drop" --out
    expect 2 keyward decrypt "$E2E/drop" other --out out
    expect 2 keyward inspect
    expect 2 keyward cat "$E2E/drop"
    expect 2 keyward seal "$E2E/src"
    expect 2 keyward seal "$E2E/src" --out out
    [ ! -e out ]
}

@test "a value that an option does not take is a usage error" {
    expect 2 decrypt "$E2E/drop" --unwrap-alg RSA-OAEP-512
    expect 2 decrypt "$E2E/drop" --decompress maybe
    expect 2 decrypt "$E2E/drop" --digest md5
    for jobs in 0 -1 x 99999999999999999999 1x ''; do
        expect 2 decrypt "$E2E/drop" --jobs "$jobs"
    done
    [ ! -e out ]
}

@test "a configuration that is missing, or holds an unknown name, is exit 3 with the line" {
    expect 3 keyward --config none.conf key list
    says 'none.conf'
    printf '[run]\ntoken = x\ncolour = blue\n' >bad.conf
    expect 3 keyward --config bad.conf key list
    says 'colour'
    says '\b3\b'
}

@test "a configured token is found by its name" {
    printf '[token mine]\nuri = pkcs11:token=keyward\nmodule = %s\npin-source = file:%s\n' \
        "$KW_TEST_MODULE" "$KW_TEST_PIN_FILE" >my.conf
    chmod 600 my.conf
    expect 0 keyward --config my.conf key list --token mine
    grep -q e2e <<<"$output"
    printf '[run]\ntoken = mine\n' >>my.conf
    expect 0 keyward --config my.conf decrypt "$E2E/drop" --out out
    diff -r "$E2E/src" out
}

@test "a key's URI that names no module leaves the configured token in force" {
    printf '[token mine]\nuri = pkcs11:token=keyward\nmodule = %s\npin-source = file:%s\n' \
        "$KW_TEST_MODULE" "$KW_TEST_PIN_FILE" >my.conf
    printf '[run]\ntoken = mine\n' >>my.conf
    chmod 600 my.conf
    expect 0 keyward --config my.conf decrypt "$E2E/drop" --out out --key pkcs11:object=e2e
    diff -r "$E2E/src" out
}

@test "a key's URI that says where its token is needs no --token" {
    expect 0 keyward decrypt "$E2E/drop" --out out \
        --key "${KW_TEST_TOKEN/pkcs11:/pkcs11:object=e2e;}"
    diff -r "$E2E/src" out
}

@test "help of a subcommand, and --version" {
    expect 0 keyward help decrypt
    grep -q -e '--unwrap-alg' <<<"$output"
    expect 0 keyward help key list
    expect 2 keyward help nonesuch
    expect 0 keyward --version
    grep -q '^keyward [0-9]' <<<"$output"
}

@test "a key's URI that names another token than the one in use is no key" {
    expect 5 decrypt "$E2E/drop" --key 'pkcs11:token=nonesuch;object=e2e'
    says 'another token'
    expect 5 decrypt "$E2E/drop" --key 'pkcs11:serial=0000;object=e2e'
    expect 0 decrypt "$E2E/drop" --key 'pkcs11:token=keyward;object=e2e'
}

@test "a PIN in the configuration's URI is refused and not repeated" {
    printf '[token t]\nmodule = %s\nuri = pkcs11:token=keyward?pin-value=%s\n' \
        "$KW_TEST_MODULE" "$KW_PIN" >my.conf
    expect 3 keyward --config my.conf key list
    refute grep -q "$KW_PIN" <<<"$stderr"
}

@test "token list knows the tokens of the configuration, by name too" {
    printf '[token a]\nuri = pkcs11:token=nonesuch?module-path=%s\n[token b]\nmodule = %s\nuri = pkcs11:token=keyward\n' \
        "$KW_TEST_MODULE" "$KW_TEST_MODULE" >my.conf
    expect 0 keyward --config my.conf token list
    grep -q '^  keyward ' <<<"$output"
    expect 0 keyward --config my.conf token list --token b
    grep -q '^  keyward ' <<<"$output"
    expect 0 keyward --config my.conf token list --token a
    refute grep -q '^  keyward ' <<<"$output"
    expect 3 keyward --config my.conf token list --token zz
    says 'no \[token zz\]'
}

# complete WORD...: what bash offers after these words, the last of which is begun.
complete_words() {
    bash -c 'source <("$1" completion bash); shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _keyward; printf "%s\n" "${COMPREPLY[@]}"' \
        - "$KW_PROGRAM" "$@"
}

@test "completion knows subcommands, options and their choices" {
    complete_words keyward dec | grep -qx decrypt
    complete_words keyward key '' | grep -qx rotate
    complete_words keyward decrypt --unw | grep -qx -e '--unwrap-alg'
    complete_words keyward decrypt --unwrap-alg RSA | grep -qx RSA-OAEP-256
    complete_words keyward key create --exp | grep -qx -e '--expires'
    [ -z "$(complete_words keyward key list --exp)" ]
    for shell in zsh fish; do
        expect 0 keyward completion "$shell"
        grep -q -e 'unwrap-alg' <<<"$output"
        if command -v "$shell" >/dev/null; then
            "$shell" -n <<<"$output"
        fi
    done
    expect 2 keyward completion tcsh
}
