#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The program against days that are known, and against bc.
set -eu
fail() { echo "check.sh: $1" >&2; exit 1; }

while read -r day name; do
  said=$(./check-moonphase "$day")
  case $said in *"  $name") ;; *) fail "$day is $name, and moonphase says: $said" ;; esac
done <<END
2000-01-06 new moon
2000-01-21 full moon
2024-04-08 new moon
2025-03-14 full moon
2026-08-12 new moon
END

# 1 January 2100 is Julian day 2488070.
expected=$(echo 'scale=12; n = 2488070 - 2451550.09765; l = 29.530588861; while (n >= l) n -= l; scale=1; (n + 0.05) / 1' | bc)
said=$(./check-moonphase 2100-01-01)
case $said in *"day $expected of "*|*"day  $expected of "*) ;; *) fail "bc says $expected, moonphase says: $said" ;; esac
if ./check-moonphase 2026-13-01 2>/dev/null; then fail 'a 13th month is taken'; fi
echo 'moonphase: all checks passed'
