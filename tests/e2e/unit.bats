# The unit of the service manager, its users and its folders.
# shellcheck disable=SC2154 # run sets output, stderr and status
load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    top=$BATS_TEST_DIRNAME/../..
    sed 's,@CMAKE_INSTALL_FULL_BINDIR@,/usr/bin,' "$top/systemd/keyward-watch.service.in" \
        >keyward-watch.service
    mkdir root
}

# members GROUP, of the root that was made.
members() { sed -n "s/^$1:[^:]*:[^:]*://p" root/etc/group; }
mode_of() { stat -c %a "root/var/lib/keyward/$1"; }

@test "systemd-analyze gives the unit an exposure below 2.0" {
    systemd-analyze security --offline=true --no-pager keyward-watch.service >score
    tail -n 1 score
    exposure=$(sed -n 's/.*exposure level for keyward-watch.service: \([0-9.]*\) .*/\1/p' score)
    [ -n "$exposure" ]
    awk -v exposure="$exposure" 'BEGIN { exit !(exposure < 2.0) }'
}

@test "the unit is one that systemd understands" {
    mkdir -p root/usr/bin
    cp "$KW_PROGRAM" root/usr/bin/keyward
    # What it says of other units of this machine, and of a manual that is not installed, is no matter.
    systemd-analyze verify ./keyward-watch.service 2>&1 |
        grep -v -e 'is not executable' -e 'man keyward-watch' -e '^/' >verdict || true
    cat verdict
    [ ! -s verdict ]
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

@test "the command of the unit is one that the program takes" {
    read -r -a words < <(sed -n 's/^ExecStart=[^ ]* //p' keyward-watch.service)
    mkdir -p inbox
    for i in "${!words[@]}"; do
        case ${words[i]} in
        */inbox) words[i]=inbox ;;
        */plain) words[i]=plain ;;
        esac
    done
    expect 0 keyward "${words[@]}" --once --token "$KW_TEST_TOKEN"
}
