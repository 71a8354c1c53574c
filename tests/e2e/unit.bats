# The unit of the service manager, its users and its folders.
# shellcheck disable=SC2154 # run sets output, stderr and status
# shellcheck disable=SC2030,SC2031 # each test sets its own words
load helper

units=(keyward-watch.service keyward-serve.service)

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    top=$BATS_TEST_DIRNAME/../..
    for unit in "${units[@]}"; do
        sed 's,@CMAKE_INSTALL_FULL_BINDIR@,/usr/bin,' "$top/systemd/$unit.in" >"$unit"
    done
    cp "$top/systemd/keyward-serve.socket" .
    mkdir root
}

# command_of UNIT: the words after the program, in words.
command_of() { read -r -a words < <(sed -n 's/^ExecStart=[^ ]* //p' "$1"); }

# members GROUP, of the root that was made.
members() { sed -n "s/^$1:[^:]*:[^:]*://p" root/etc/group; }
mode_of() { stat -c %a "root/var/lib/keyward/$1"; }

@test "systemd-analyze gives each unit an exposure below 2.0" {
    for unit in "${units[@]}"; do
        systemd-analyze security --offline=true --no-pager "$unit" >score
        tail -n 1 score
        exposure=$(sed -n "s/.*exposure level for $unit: \([0-9.]*\) .*/\1/p" score)
        [ -n "$exposure" ]
        awk -v exposure="$exposure" 'BEGIN { exit !(exposure < 2.0) }'
    done
}

@test "the units are ones that systemd understands" {
    mkdir -p root/usr/bin
    cp "$KW_PROGRAM" root/usr/bin/keyward
    for unit in "${units[@]}" keyward-serve.socket; do
        # What it says of other units of this machine, and of a manual that is not installed, is no
        # matter.
        systemd-analyze verify "./$unit" 2>&1 |
            grep -v -e 'is not executable' -e 'man keyward-' -e '^/' >verdict || true
        cat verdict
        [ ! -s verdict ]
    done
}

@test "the user, the groups and the folders are made as the unit wants them" {
    [ "$(id -u)" -eq 0 ] || skip "only root can make files of other users"
    mkdir -p root/etc
    systemd-sysusers --root="$PWD/root" "$top/systemd/keyward.sysusers"
    grep -q '^keyward:' root/etc/passwd
    [ "$(members keyward-drops)" = keyward ]
    [ -z "$(members keyward-plain)" ]
    systemd-tmpfiles --root="$PWD/root" --create "$top/systemd/keyward.tmpfiles"
    [ "$(mode_of .)" = 711 ] && [ "$(mode_of inbox)" = 2770 ]
    [ "$(mode_of plain)" = 710 ] && [ "$(mode_of audit)" = 700 ]
}

@test "the command of the unit that watches is one that the program takes" {
    command_of keyward-watch.service
    mkdir -p inbox
    for i in "${!words[@]}"; do
        case ${words[i]} in
        */inbox) words[i]=inbox ;;
        */plain) words[i]=plain ;;
        esac
    done
    expect 0 keyward "${words[@]}" --once --token "$KW_TEST_TOKEN"
}

# Under the name that the socket unit gives to its socket, as systemd hands it over.
@test "the command of the unit that serves is one that the program takes, with the socket's name" {
    command_of keyward-serve.service
    name=$(sed -n 's/^FileDescriptorName=//p' keyward-serve.socket)
    "$top/hsm-setup/certificates" certs localhost
    cat >serve.conf <<END
[listener $name]
address = 127.0.0.1:443
certificate = $PWD/certs/server.pem
key = $PWD/certs/server-key.pem
client-ca = $PWD/certs/ca.pem
END
    chmod 0600 serve.conf
    expect 0 "$BATS_TEST_DIRNAME/hand_over.py" "$name" "$KW_PROGRAM" "${words[@]}" \
        --token "$KW_TEST_TOKEN" --config serve.conf
}
