# Runs inside of the kernel that make.sh starts: puts the file systems that it made onto arrays.
. ./uuids
disk() { truncate -s "$2" "guests/$1"; losetup --partscan "/dev/loop$3" "guests/$1"; }
finish() {
    mdadm --stop --scan
    losetup --detach-all
    while [ -n "$(losetup --list --noheadings)" ]; do sleep 0.1; done
}

# Two disks, each with two partitions: /boot begins like any file system there, the root does not.
for at in 0 1; do
    disk "raid1-$at" 4M $at
    sgdisk --set-alignment=8 --new=1:64:1087 --typecode=1:fd00 --new=2:1088:8150 --typecode=2:fd00 "/dev/loop$at" >/dev/null
    partx --update "/dev/loop$at"
done
mdadm --create /dev/md1 --run --homehost=box --metadata=1.0 --uuid=$BOOT --level=1 --raid-devices=2 /dev/loop0p1 /dev/loop1p1
mdadm --create /dev/md/root --run --homehost=box --name=root --metadata=1.2 --data-offset=64K --bitmap=none --level=1 --raid-devices=2 \
    /dev/loop0p2 /dev/loop1p2
mdadm --wait /dev/md1 /dev/md/root || true
dd if=boot.img of=/dev/md1 bs=4k conv=fsync status=none
dd if=root.img of=/dev/md/root bs=4k conv=fsync status=none
finish

# Three disks without a table of their own: the array has one, with the root, a physical volume and an encrypted volume.
for at in 0 1 2; do disk "raid5-$at" 5M $at; done
mdadm --create /dev/md0 --run --homehost=box --metadata=1.0 --level=5 --chunk=64 --raid-devices=3 /dev/loop0 /dev/loop1 /dev/loop2
mdadm --wait /dev/md0 || true
sgdisk --set-alignment=8 --new=1:64:+1M --new=2::+2560K --typecode=2:8e00 --new=3::+2304K --typecode=3:8309 /dev/md0 >/dev/null
partx --update /dev/md0
dd if=root5.img of=/dev/md0p1 bs=4k conv=fsync status=none
dd if=srv5.luks of=/dev/md0p3 bs=4k conv=fsync status=none
mkdir -p /run/lvm/etc /run/lock
export LVM_SYSTEM_DIR=/run/lvm/etc
cat >/run/lvm/etc/lvm.conf <<CONF
devices { use_devicesfile = 0 pv_min_size = 512 filter = [ "a|^/dev/md0p2$|", "r|.*|" ] }
backup { backup = 0 archive = 0 }
global { event_activation = 0 use_lvmpolld = 0 locking_dir = "/run/lock" }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
CONF
pvcreate -q --metadatasize 64k --dataalignment 128k /dev/md0p2
vgcreate -q --physicalextentsize 128k demo /dev/md0p2
lvcreate -q -Zn -Wn -n home -L 256k demo
dd if=home5.img of=/dev/demo/home bs=4k conv=fsync status=none
vgchange -q -an demo
finish
