#!/bin/sh
# Runs as the first process of a user-mode Linux (make.sh starts it): the case named by `case=` on the kernel's command line, on the disks
# ubda, ubdb and on, with the work directory at /mnt. Ends by a halt that writes nothing more, as a power cut would.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C LVM_SUPPRESS_FD_WARNINGS=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null || true
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t hostfs none /mnt -o "$(sed 's/.*work=\([^ ]*\).*/\1/' /proc/cmdline)"
case=$(sed 's/.*case=\([^ ]*\).*/\1/' /proc/cmdline)
disks=$(ls /dev/ubd?)
mkdir -p /tmp/modules/lib /tmp/lvm /run/lock
ln -s /usr/lib/uml/modules /tmp/modules/lib/modules
for module in dm-mod dm-thin-pool dm-snapshot dm-raid dm-mirror dm-cache dm-cache-smq dm-writecache raid0 raid1 raid10 raid456; do
    modprobe -d /tmp/modules $module
done
export LVM_SYSTEM_DIR=/tmp/lvm
cat >/tmp/lvm/lvm.conf <<CONF
devices { use_devicesfile = 0 filter = [ "a|^/dev/ubd|", "r|.*|" ] obtain_device_list_from_udev = 0 external_device_info_source = "none" }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 raid_region_size = 64 }
global { event_activation = 0 use_lvmpolld = 0 locking_dir = "/run/lock" sparse_segtype_default = "thin" }
backup { backup = 0 archive = 0 }
CONF

group() {
    for disk in $disks; do pvcreate -q -q --metadatasize 128k --dataalignment 128k "$disk" >/dev/null; done
    vgcreate -q -q --physicalextentsize "$1" vg $disks >/dev/null
}
# fill VOLUME FIRST COUNT MARK: sectors of 512 bytes that say what they are.
fill() {
    perl -e 'my ($first, $count, $mark) = @ARGV; for my $at ($first .. $first + $count - 1) { print pack("a512", sprintf("%s %08d\n", $mark, $at)) }' \
        "$2" "$3" "$4" | dd of="/dev/vg/$1" bs=512 seek="$2" conv=notrunc,fsync status=none
}
# record VOLUME...: the sums that the kernel's own reading has.
record() {
    echo 3 >/proc/sys/vm/drop_caches
    for volume; do
        # The kernel, not the page cache.
        sum=$(dd if="/dev/vg/$volume" bs=64k iflag=direct status=none | sha256sum | cut -d' ' -f1)
        echo "$sum  $case vg/$volume" >>/mnt/sums
    done
}
off() { sync; vgchange -q -q -an vg >/dev/null; }

. "/mnt/cases/$case.sh"
sync
echo done >/mnt/done
echo o >/proc/sysrq-trigger
sleep 10
