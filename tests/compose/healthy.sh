#!/bin/sh
# healthy.sh PORT...: does the process hold an established TCP connection to each of these remote ports?
# The process is PID 1, as in a container, unless HEALTHY_PID says otherwise. Exit 0: yes; 1: no.
pid=${HEALTHY_PID:-1}
[ $# -gt 0 ] && [ -d "/proc/$pid/fd" ] || exit 1
mine=$(ls -l "/proc/$pid/fd" 2>/dev/null | sed -n 's/.*socket:\[\([0-9]*\)\]$/\1/p' | tr '\n' ' ')
for port in "$@"; do
  # columns of /proc/PID/net/tcp: 3 remote address:port in hexadecimal, 4 state (01 is established), 10 inode
  cat "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" 2>/dev/null | awk -v mine=" $mine" -v port="$(printf '%04X' "$port")" '
    $4 == "01" && substr($3, length($3) - 3) == port && index(mine, " " $10 " ") { found = 1 }
    END { exit !found }' || exit 1
done
