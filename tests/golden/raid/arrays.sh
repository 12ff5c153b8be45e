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
    legs "$name" 164 100 136
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
array raid4-4 4 --level=4 --chunk=4
for layout in n2 f2 o2; do array raid10-$layout-3 3 --level=10 --chunk=4 --layout=$layout; done
for layout in n2 n3 f2 o3; do array raid10-$layout-4 4 --level=10 --chunk=4 --layout=$layout; done
array raid10-f3-5 5 --level=10 --chunk=4 --layout=f3
array raid1-3 3 --level=1
uneven raid0-original --level=0 --chunk=4 --layout=original
uneven raid0-alternate --level=0 --chunk=4 --layout=alternate
uneven linear-3 --level=linear

# Version of the metadata, and the name that it holds.
for version in 0.90 1.0 1.1 1.2; do
    name=version-$version
    legs "$name" 320 320
    case $version in 1.[12]) offset=--data-offset=64K ;; *) offset= ;; esac
    mdadm --create /dev/md0 --run --homehost=box --metadata=$version $offset --level=1 --size=64 --raid-devices=2 $devices
    fill
    finish
done
name=version-1.2-named
legs "$name" 256 256
mdadm --create /dev/md/data --run --homehost=box --name=data --data-offset=64K --level=1 --size=64 --raid-devices=2 $devices
dd if=content of=/dev/md/data bs=4k count=16 conv=fsync,notrunc status=none
mdadm --stop /dev/md/data
release

# From here on all has 64 KiB a member, in chunks of 4 KiB.
raid1() { name=$1; legs "$name" 256 256; start --data-offset=64K --size=64 --level=1 --raid-devices=2; }
raid5() { name=$1; legs "$name" 256 256 256; start --data-offset=64K --size=64 --level=5 --chunk=4 --raid-devices=3 "$2"; }
member() { echo "/dev/loop$1"; }

# One that failed and missed what was written then.
raid1 behind
dd if=/dev/zero of=/dev/md0 bs=4k count=16 conv=fsync status=none
mdadm /dev/md0 --fail "$(member 0)"
fill
finish

# One that was taken out and put aside, and each was used alone: both say that the other is gone.
raid1 split
mdadm --stop /dev/md0
mdadm --assemble /dev/md0 --run "$(member 0)"
dd if=/dev/zero of=/dev/md0 bs=4k count=16 conv=fsync status=none
mdadm --stop /dev/md0
mdadm --assemble /dev/md0 --run "$(member 1)"
fill
for again in 1 2 3; do mdadm --stop /dev/md0; mdadm --assemble /dev/md0 --run "$(member 1)"; fill; done
finish

# A spare, which holds nothing.
name=spare
legs "$name" 256 256 256
start --data-offset=64K --size=64 --level=1 --raid-devices=2 --spare-devices=1
fill
finish

# Not stopped: the members are copied while the array is written to.
copy() { sync; for leg in arrays/"$name"/[0-9]*; do cp --sparse=always "$leg" "$leg.copy"; done; }
keep() { for leg in arrays/"$name"/*.copy; do mv "$leg" "${leg%.copy}"; done; }
raid5 dirty --bitmap=none
echo 1000 >/sys/block/md0/md/safe_mode_delay
fill
copy
finish
keep

# Bad blocks on each member, at different places.
raid5 bad-blocks --bitmap=none
fill
# Sectors from the start of the member: the data begins at 128.
echo 128 8 >/sys/block/md0/md/dev-loop0/bad_blocks
echo 140 3 >/sys/block/md0/md/dev-loop1/bad_blocks
echo 255 1 >/sys/block/md0/md/dev-loop1/bad_blocks
echo 200 16 >/sys/block/md0/md/dev-loop2/bad_blocks
finish
# What was there must not be read.
for bad in '0 128 8' '1 140 3' '1 255 1' '2 200 16'; do
    set -- $bad
    tr '\0' x </dev/zero | dd of="arrays/$name/$1" bs=512 seek="$2" count="$3" conv=notrunc iflag=fullblock status=none
done

# A new member that is recovered up to its middle.
raid5 recovering --bitmap=none
fill
mdadm /dev/md0 --fail "$(member 1)" --remove "$(member 1)"
mdadm --zero-superblock "$(member 1)"
tr '\0' x </dev/zero | dd of="$(member 1)" bs=4k count=64 iflag=fullblock status=none
echo 64 >/sys/block/md0/md/sync_max
mdadm /dev/md0 --add "$(member 1)"
sleep 2
cat /sys/block/md0/md/sync_completed
finish

# One that stands in for another, completely and not yet.
for part in half done; do
    name=replacement-$part
    legs "$name" 256 256 256
    start --data-offset=64K --size=64 --level=1 --raid-devices=2 --spare-devices=1
    fill
    [ $part = done ] || echo 64 >/sys/block/md0/md/sync_max
    mdadm /dev/md0 --replace "$(member 0)"
    sleep 2
    finish
done

# Being reshaped from three members to four, and stopped in the middle.
name=reshape
legs "$name" 512 512 512 512
start --data-offset=128K --size=128 --level=5 --chunk=4 --raid-devices=3 --spare-devices=1 --bitmap=none
fill
echo 128 >/sys/block/md0/md/sync_max
echo 4 >/sys/block/md0/md/raid_disks
echo reshape >/sys/block/md0/md/sync_action
sleep 2
cat /sys/block/md0/md/reshape_position
copy
echo frozen >/sys/block/md0/md/sync_action
finish
keep

# With a journal: stopped, and with writes that only the journal holds.
for part in clean dirty; do
    name=journal-$part
    legs "$name" 256 256 256 8192
    mdadm --create /dev/md0 --run --homehost=box --data-offset=64K --size=64 --level=5 --chunk=4 --raid-devices=3 \
        --write-journal "$(member 3)" "$(member 0)" "$(member 1)" "$(member 2)"
    mdadm --wait /dev/md0 || true
    [ $part = clean ] || echo write-back >/sys/block/md0/md/journal_mode
    fill
    copy
    finish
    [ $part = clean ] || keep
    rm -f arrays/$name/*.copy
done

# With a partial parity log.
name=ppl
legs "$name" 4096 4096 4096
start --data-offset=2M --size=64 --level=5 --chunk=4 --raid-devices=3 --consistency-policy=ppl
fill
finish
