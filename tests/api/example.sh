#!/usr/bin/env bash
# Installs the build to a scratch folder, compiles docs/example.c against it with pkg-config, runs it
# over a drop, and checks what else the installation has.
# Usage: example.sh BUILD SOURCE SANITIZERS, under with-keys.py.
set -euo pipefail
build=$1 source=$2 sanitize=$3
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
cmake --install "$build" --prefix "$prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name keyward.pc)")
export PKG_CONFIG_PATH
# pkg-config --define-variable: the prefix was chosen after the file was made.
flags=$(pkg-config --define-variable=prefix="$prefix" --cflags --libs keyward)
compiler=${CC:-cc}
[ -z "$sanitize" ] || compiler="clang -fsanitize=$sanitize"
# shellcheck disable=SC2086
$compiler -std=c17 -Wall -Wextra -Werror "$source/docs/example.c" $flags -o "$prefix/example"
library=$(dirname "$(find "$prefix" -name libkeyward.so)")
export LD_LIBRARY_PATH=$library

lines=$("$prefix/example" "$KW_TEST_DROPS/good-nested" "$KW_TEST_TOKEN" | awk '{ n += $1 } END { print n }')
[ "$lines" -gt 0 ] || { echo "the example counted no lines"; exit 1; }
code=0
"$prefix/example" "$KW_TEST_DROPS/bad-gzip-crc" "$KW_TEST_TOKEN" 2>"$prefix/err" || code=$?
[ "$code" -eq 7 ] || { echo "a damaged drop gave $code, not 7"; exit 1; }
grep -q . "$prefix/err"

# Nothing but the public headers is installed, nothing but their functions exported.
installed=$(cd "$prefix/include/keyward" && echo *)
[ "$installed" = "keyward.h status.h" ] || { echo "headers: $installed"; exit 1; }
exported=$(nm -D --defined-only "$library/libkeyward.so" | awk '$2 == "T" { print $3 }' | sort)
declared=$(grep -hoE '\bkw_[a-z0-9_]+\(' "$prefix"/include/keyward/*.h | tr -d '(' | sort -u)
[ "$exported" = "$declared" ] || { diff <(echo "$declared") <(echo "$exported"); exit 1; }
"$prefix/bin/keyward" version | grep -q '^keyward [0-9]'
