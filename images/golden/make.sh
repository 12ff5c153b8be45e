#!/bin/sh
# Makes the images in this folder with qemu-img and qemu-io; no root. The guest's bytes are the same every time.
set -eu
cd "$(dirname "$0")"
rm -f ./*.qcow2 ./*.raw ./*.data expected.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A disk of 1 MiB and 7 sectors: noise, text, zeros and places never written.
size=$((1048576 + 7 * 512))
noise() { awk -v n="$1" -v x="$2" 'BEGIN { for (i = 0; i < n; i++) { x = (x * 1103515245 + 12345) % 2147483648; printf "%08x\n", x } }'; }
truncate -s $size "$work/disk.raw"
noise 3000 1 | dd of="$work/disk.raw" conv=notrunc status=none
seq -f 'line %g of a text that can be compressed' 1 2000 | dd of="$work/disk.raw" conv=notrunc status=none bs=512 seek=700
noise 50 2 | dd of="$work/disk.raw" conv=notrunc status=none bs=512 seek=2054

convert() { name=$1; shift; qemu-img convert -O qcow2 "$@" "$work/disk.raw" "$name.qcow2"; }
convert v2 -o compat=0.10
convert v3-lazy-refcounts -o lazy_refcounts=on
convert cluster-512 -o cluster_size=512
convert cluster-4k-refcount-1 -o cluster_size=4k,refcount_bits=1
convert refcount-64 -o refcount_bits=64
convert zlib -c
convert zlib-v2-cluster-4k -c -o compat=0.10,cluster_size=4k
convert zstd -c -o compression_type=zstd
convert extended-l2 -o extended_l2=on,cluster_size=64k
convert data-file -o data_file=data-file.data,data_file_raw=off

# A backing file that is shorter than what is above it; zero clusters and discarded ones over data.
qemu-img convert -O raw "$work/disk.raw" short-base.raw
truncate -s 300000 short-base.raw
qemu-img create -q -f qcow2 -b short-base.raw -F raw above-short-base.qcow2 2M
qemu-io -f qcow2 -c 'write -P 0x5a 64k 100k' -c 'write -z 128k 64k' -c 'write -P 0xa5 1900k 64k' above-short-base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b above-short-base.qcow2 -F qcow2 three-deep.qcow2
qemu-io -f qcow2 -c 'write -P 0x11 0 4k' -c 'discard 64k 64k' three-deep.qcow2 >/dev/null

# Two snapshots; what is expected here is the current state.
qemu-img create -q -f qcow2 snapshots.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 200k' snapshots.qcow2 >/dev/null
qemu-img snapshot -c first snapshots.qcow2
qemu-io -f qcow2 -c 'write -P 2 100k 200k' snapshots.qcow2 >/dev/null
qemu-img snapshot -c second snapshots.qcow2
qemu-io -f qcow2 -c 'write -P 3 0 64k' snapshots.qcow2 >/dev/null

expect() { # NAME IMAGE [CONVERT-OPTION...]
    name=$1 image=$2; shift 2
    qemu-img convert -O raw "$@" "$image" "$work/out.raw"
    echo "$(sha256sum <"$work/out.raw" | cut -d' ' -f1) $(stat -c %s "$work/out.raw") $name" >>expected.txt
}
for image in *.qcow2; do expect "$image" "$image"; done
for snapshot in first second; do expect "snapshots.qcow2 $snapshot" snapshots.qcow2 -l "$snapshot"; done
