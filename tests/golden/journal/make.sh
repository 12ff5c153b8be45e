#!/bin/sh
# Makes fs.qcow2 and journal.qcow2 beside this script: an ext4 file system and its journal on a device of its own, copied while the kernel had
# it mounted: the last transactions are in the journal only. Needs root (loop devices, mount).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
journal= volume=
finish() {
    cd /
    umount "$work/mnt" 2>/dev/null || true
    for loop in $volume $journal; do losetup --detach "$loop"; done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
mkdir mnt
truncate -s 4M journal
truncate -s 16M fs
mke2fs -q -F -b 1024 -O journal_dev -U 6a6f7572-6e61-4c00-8000-000000000001 journal
journal=$(losetup --find --show journal)
volume=$(losetup --find --show fs)
mke2fs -q -t ext4 -b 1024 -N 128 -L outside -U 6a6f7572-6e61-4c00-8000-000000000002 -J "device=$journal" "$volume"
mount "$volume" mnt
seq 1 5000 >mnt/gone.txt
seq 5000 9000 >mnt/kept.txt
sync
rm mnt/gone.txt
echo 'only the journal knows this name' | dd of=mnt/last.txt conv=fsync status=none
cp --sparse=always fs dirty.fs
cp --sparse=always journal dirty.journal
sha256sum mnt/kept.txt mnt/last.txt | sed 's|mnt/||' >"$here/tree.txt"
umount mnt
for name in fs journal; do
    qemu-img convert -c -O qcow2 -o cluster_size=4k "dirty.$name" "$here/$name.qcow2"
done
seq 1 5000 | sha256sum | sed 's|-|gone.txt|' >"$here/deleted.txt"
