#!/bin/sh
# Makes the images beside this script, and sums.txt: what each volume reads as, by the kernel. That kernel is a user-mode Linux with the host's
# own tools. Needs no root.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
cp -r "$here/cases" "$here/inside.sh" "$work"
# boot CASE DISK...
boot() {
    case=$1; shift
    number=0 devices=
    for disk; do devices="$devices ubd$number=$disk"; number=$((number + 1)); done
    rm -f "$work/done"
    timeout 300 linux.uml mem=256M root=/dev/root rootfstype=hostfs rootflags=/ ro init="$work/inside.sh" con=null con0=fd:0,fd:1 quiet \
        work="$work" case="$case" $devices </dev/null >"$work/log" 2>&1 || true
    [ -e "$work/done" ] || { cat "$work/log"; echo "$case failed" >&2; exit 1; }
}
disks() { for number in $(seq "$1"); do truncate -s "$2" "$work/$case-$number"; echo "$work/$case-$number"; done; }
keep() { for disk; do qemu-img convert -c -O qcow2 -o cluster_size=8k "$disk" "$here/${disk##*/}.qcow2"; done; }

for case in ${*:-thin snapshot raid reshape stale cache unclean flushed}; do
    echo "$case"
    case $case in
        thin) all=$(disks 1 16M) ;;
        snapshot) all=$(disks 1 8M) ;;
        raid) all=$(disks 6 4M) ;;
        reshape) all=$(disks 4 6M) ;;
        stale) all=$(disks 3 4M) ;;
        cache) all=$(disks 1 30M) ;;
        unclean | flushed) all=$(disks 1 16M) ;;
    esac
    boot $case $all
    if [ $case = stale ]; then
        boot stale2 "$work/stale-2" "$work/stale-3"
    fi
    keep $all
    case=
done
cat "$work/status" 2>/dev/null || true
touch "$here/sums.txt"
# A volume that was recorded twice counts as it was the last time.
cat "$here/sums.txt" "$work/sums" | awk '{ sum[$2 " " $3] = $1 } END { for (name in sum) print sum[name] "  " name }' | LC_ALL=C sort -k2 >"$work/sorted"
mv "$work/sorted" "$here/sums.txt"
ls -l "$here"
