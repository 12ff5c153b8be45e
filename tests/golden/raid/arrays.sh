# Runs inside of the kernel that make.sh starts: every level, layout and version of the metadata, and arrays that are not whole.
# Each member's data is 64 KiB long unless the case is about sizes, in chunks of 4 KiB.

# legs NAME KIB...: empty members on loop devices, which are then in $devices.
legs() {
    name=$1; shift
    devices= count=0
    mkdir "arrays/$name"
    for kib; do
        truncate -s "${kib}k" "arrays/$name/$count"
        losetup "/dev/loop$count" "arrays/$name/$count"
        devices="$devices /dev/loop$count"
        count=$((count + 1))
    done
}
# start OPTION...: the array of $devices.
start() { mdadm --create /dev/md0 --run --homehost=box "$@" $devices; mdadm --wait /dev/md0 || true; }
fill() { dd if=content of=/dev/md0 bs=4k count=$(($(blockdev --getsize64 /dev/md0) / 4096)) conv=fsync,notrunc status=none; }
finish() {
    blockdev --getsize64 /dev/md0 >"arrays/$name/size"
    mdadm --stop /dev/md0
    release
}
release() {
    for device in $(losetup --list --noheadings --output name); do losetup --detach "$device"; done
    # A loop device lives on until the last reader has closed it.
    while [ -n "$(losetup --list --noheadings)" ]; do sleep 0.1; done
}
# array NAME LEGS OPTION...: one that is whole.
array() {
    name=$1 many=$2; shift 2
    legs "$name" $(for leg in $(seq "$many"); do echo 256; done)
    start --data-offset=64K --size=64 --raid-devices="$many" "$@"
    fill
    finish
}

# uneven NAME LEVEL OPTION...: members of three sizes, of which nothing is left out.
uneven() {
    name=$1; shift
    legs "$name" 164 104 136
    start --data-offset=64K --raid-devices=3 "$@"
    fill
    finish
}

for layout in left-asymmetric right-asymmetric left-symmetric right-symmetric parity-first parity-last; do
    array raid5-$layout 4 --level=5 --chunk=4 --layout=$layout
    [ $layout = parity-last ] || array raid6-$layout-6 5 --level=6 --chunk=4 --layout=$layout-6
    array raid6-$layout 5 --level=6 --chunk=4 --layout=$layout
done
for layout in ddf-zero-restart ddf-N-restart ddf-N-continue; do array raid6-$layout 5 --level=6 --chunk=4 --layout=$layout; done
array raid4 4 --level=4 --chunk=4
for layout in n2 f2 o2; do array raid10-$layout-3 3 --level=10 --chunk=4 --layout=$layout; done
for layout in n2 n3 f2 o3; do array raid10-$layout-4 4 --level=10 --chunk=4 --layout=$layout; done
array raid10-f3-5 5 --level=10 --chunk=4 --layout=f3
array raid1 3 --level=1
uneven raid0-original --level=0 --chunk=4 --layout=original
uneven raid0-alternate --level=0 --chunk=4 --layout=alternate
uneven linear --level=linear
