# shellcheck shell=bash
# Shared by the scripts in this folder and in tests/: sourced, not run.

# Messages carry the name of the script that the user started.
kw_script=${0##*/}

step() { printf '%s: %s\n' "$kw_script" "$*"; }
fail() {
    printf '%s: %s\n' "$kw_script" "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---- Debian and Ubuntu packages ----

package_installed() {
    # "ii" in any architecture; a virtual or transitional name counts as the package behind it.
    dpkg-query --show --showformat='${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'
}

# need_packages NAME... installs what is missing of them, and says so.
need_packages() {
    local missing=() name
    if ! have dpkg-query; then
        step "this is not Debian or Ubuntu; going on as if what these hold were installed: $*"
        return
    fi
    for name in "$@"; do
        package_installed "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        step "all packages that are needed are installed"
        return
    fi
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "not root and no sudo; run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    step "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q >/dev/null ||
        fail "apt-get update failed; run it by hand and mend what it says"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get failed; run it by hand: apt-get install ${missing[*]}"
}

# ---- building ----

# What the program itself is built from; the tests need more.
# shellcheck disable=SC2034 # for the scripts that source this
build_packages=(gcc libc6-dev cmake ninja-build pkgconf libssl-dev libp11-kit-dev libcjson-dev
    libisal-dev libsqlite3-dev libseccomp-dev libevent-dev libcjose-dev libjansson-dev
    libcurl4-openssl-dev)

# build_preset PRESET [TARGET] configures and builds it, or only that, under build/PRESET; the log is
# there too.
build_preset() {
    local log=build/$1.log generator=()
    mkdir -p build
    # Two parts of the tests may want the same one at the same time.
    {
        flock 9
        # A folder that another generator configured keeps that one.
        if have ninja && [ ! -e "build/$1/CMakeCache.txt" ]; then
            generator=(-G Ninja)
        fi
        if ! { cmake --preset "$1" "${generator[@]}" && cmake --build --preset "$1" ${2:+--target "$2"}; } \
            >"$log" 2>&1 9>&-; then
            tail -n 40 "$log" >&2
            fail "the build failed, see $log"
        fi
    } 9>"build/$1.lock"
}

# ---- PKCS#11 ----

# find_module NAME FOLDER... prints the first NAME that is there.
find_module() {
    local name=$1 folder
    shift
    for folder in "$@"; do
        if [ -e "$folder/$name" ]; then
            printf '%s\n' "$folder/$name"
            return
        fi
    done
    return 1
}

# The file is made readable for its owner only. No process is given the PIN as an argument.
random_pin() {
    local length=$1 file=$2 pin
    pin=$(LC_ALL=C tr -dc 'a-km-z2-9' </dev/urandom | head -c "$length" || true)
    [ ${#pin} -eq "$length" ] || fail "/dev/urandom gives nothing"
    (
        umask 077
        printf '%s\n' "$pin" >"$file"
    )
}

# Percent-encodes what RFC 7512 does not allow as it is in a path.
uri_escape() {
    local text=$1 out='' char i
    local LC_ALL=C
    for ((i = 0; i < ${#text}; i++)); do
        char=${text:i:1}
        case $char in
        [a-zA-Z0-9/._-]) out+=$char ;;
        *) out+=$(printf '%%%02X' $(($(printf '%d' "'$char") & 255))) ;;
        esac
    done
    printf '%s\n' "$out"
}

# token_uri LABEL MODULE PIN_FILE
token_uri() {
    printf 'pkcs11:token=%s?module-path=%s&pin-source=file:%s\n' \
        "$(uri_escape "$1")" "$(uri_escape "$2")" "$(uri_escape "$3")"
}

# pkcs11-tool reads PINs named as env:NAME, so that they are in no argument list.
# with_pins PIN_FILE SO_PIN_FILE COMMAND... runs it with KW_PIN and KW_SO_PIN set.
with_pins() {
    local pin so_pin
    pin=$(cat "$1")
    so_pin=$(cat "$2")
    shift 2
    KW_PIN=$pin KW_SO_PIN=$so_pin "$@"
}

# quiet WHAT COMMAND... shows the command's output only when it fails.
quiet() {
    local what=$1 output
    shift
    output=$("$@" 2>&1) || {
        printf '%s\n' "$output" >&2
        fail "$what failed"
    }
}

# ---- daemons ----

# daemon_runs PID_FILE NAME: the process that the file names still is a NAME; ids are used again.
daemon_runs() {
    local pid program
    pid=$(sed -n 1p "$1" 2>/dev/null) && [ -n "$pid" ] || return 1
    program=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1 # none: it ended
    program=${program% (deleted)}
    [ "${program##*/}" = "$2" ]
}

# stop_daemon PID_FILE NAME: ends it if it runs, and waits until it has.
stop_daemon() {
    local try signal=TERM
    for ((try = 0; try < 50; try++)); do
        daemon_runs "$1" "$2" || break
        kill -s "$signal" "$(sed -n 1p "$1")" 2>/dev/null || true
        [ "$try" -lt 30 ] || signal=KILL
        sleep 0.1
    done
    rm -f "$1"
}

# answers SECONDS COMMAND...: tries it until it succeeds, for so long.
answers() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
