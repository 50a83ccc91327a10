#!/bin/bash
# How this host is, in one command: services, disk, memory, recent errors, git sync, heartbeats.
# A front for `keepwell check --sections`: it asks the running keepwell, and looks for itself where
# none runs.
#
#   scripts/vm_health.sh [--restart] [--alert] [--all] [--config FILE] [--json] [--no-color]
#
#   --restart      restart failed services that the configuration lets keepwell restart
#   --alert        tell the channels what is wrong
#                  (a running keepwell does both by itself; then they change nothing)
#   --all          list every healthy check too
#   --config FILE  look with this configuration instead of that of the host
#   --json         JSON instead of sections
#   --no-color     no colours; there are none in a file or a pipe either
#   --dry-run      print the command instead of running it
#   --help         this text
#
# KEEPWELL: the program, where it is not in PATH.
# Exit code: 0 healthy, 1 warning, 2 critical, 3 unknown, also when keepwell is not installed.
# 64 is a mistake in the arguments.
set -euo pipefail

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }

keepwell=${KEEPWELL:-keepwell}
global=()
flags=()
shape=--sections
dry=
while [ $# -gt 0 ]; do
    case $1 in
    --restart | --alert | --all) flags+=("$1") ;;
    --json) shape=--json ;;
    --no-color | --no-colour) global+=(--no-color) ;;
    --config)
        [ $# -ge 2 ] || { echo "vm_health: --config needs a file" >&2; exit 64; }
        global+=(--config "$2")
        shift
        ;;
    --config=*) global+=(--config "${1#*=}") ;;
    --dry-run) dry=1 ;;
    --help | -h) usage; exit 0 ;;
    *)
        echo "vm_health: '$1' is not an argument; scripts/vm_health.sh --help lists them" >&2
        exit 64
        ;;
    esac
    shift
done

command=("$keepwell" "${global[@]}" check "$shape" "${flags[@]}")
if [ -n "$dry" ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
if ! command -v "$keepwell" >/dev/null; then
    echo "vm_health: keepwell is not installed here ('$keepwell' is not found): nothing is known of this host" >&2
    exit 3
fi
exec "${command[@]}"
