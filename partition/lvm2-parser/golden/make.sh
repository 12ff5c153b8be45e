#!/bin/sh
# Makes start.bin, area.bin and linear-striped.vg with LVM2's own tools (2.03.16). Needs root; UUIDs differ each time.
# thin.vg, snapshot.vg, raid.vg and cache.vg are texts of the images that tests/golden/lvm/make.sh of the project makes.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
devices=
trap 'for device in $devices; do losetup -d "$device"; done; rm -r "$work"' EXIT
for i in 0 1 2; do
    truncate -s 96M "$work/disk$i"
    devices="$devices $(losetup -f --show "$work/disk$i")"
done
set -- $devices
export LVM_SYSTEM_DIR="$work"
cat > "$work/lvm.conf" <<EOF
devices { filter = ["a|^$1\$|", "a|^$2\$|", "a|^$3\$|", "r|.*|"] use_devicesfile = 0 obtain_device_list_from_udev = 0 }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
global { locking_dir = "$work/lock" use_lvmpolld = 0 event_activation = 0 }
backup { backup = 0 archive = 0 }
EOF
create() { lvm lvcreate --driverloaded n -an -Zn -Wn -y "$@"; }
lvm vgcreate --driverloaded n -s 1M golden "$1" "$2" "$3"
create -l 5 -n root golden
create -i 3 -I 64k -l 9 -n stripes golden
lvm lvextend --driverloaded n -l +7 golden/root "$2"
lvm lvextend --driverloaded n -l +2 -i 1 golden/stripes "$3"
create --type zero -l 3 -n nothing golden
create -l 3 -n cached golden
create --type error -l 3 -n bad golden
lvm lvchange --driverloaded n --addtag hello golden/root
lvm lvs --driverloaded n --segments -o +devices
dd if="$work/disk0" of=start.bin bs=2048 count=1
dd if="$work/disk0" of=area.bin bs=512 skip=8 count=1
offset=$(od -An -t u8 -j 40 -N 8 area.bin | tr -d ' ')
size=$(od -An -t u8 -j 48 -N 8 area.bin | tr -d ' ')
dd if="$work/disk0" of=linear-striped.vg bs=1 skip=$((4096 + offset)) count="$size"
