#!/bin/sh
# Makes base.qcow2 and guest.qcow2 beside this script, with the kernel and Debian's tools. Needs root; takes a few seconds.
# Run by: cargo xtask golden tests/golden/demo
# Contents, UUIDs and modification times are the same every time; what the kernel stamps itself (ctime, mount times) is not.
set -eu
: "${XTASK:?run this with: cargo xtask golden tests/golden/demo}"

# A mount and host name space of our own: mounts are gone when the script ends, and no real host name gets into LVM's metadata.
if [ "${IMGMOUNT_DEMO_INSIDE:-}" != yes ]; then
    IMGMOUNT_DEMO_INSIDE=yes exec unshare --mount --uts --propagation private sh "$0" "$@"
fi
hostname demo-maker
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
loop=
finish() { cd /; umount -R "$work/mnt" 2>/dev/null || true; [ -z "$loop" ] || losetup --detach "$loop"; rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
mkdir mnt lvm
export LC_ALL=C.UTF-8 TZ=UTC E2FSPROGS_FAKE_TIME=1700000000 MTOOLS_SKIP_CHECK=1
umask 022

MIB=1048576
ROOT_UUID=0a1b2c3d-0001-4000-8000-00000000feed
HOME_UUID=0a1b2c3d-0002-4000-8000-00000000feed
SWAP_UUID=0a1b2c3d-0003-4000-8000-00000000feed
ESP_ID=DE30-0E5B

# --- the disk: an EFI system partition of 8 MiB at 1 MiB, then LVM; the last MiB is the backup table's -------------
truncate -s $((72 * MIB)) disk.raw
sgdisk --disk-guid=0a1b2c3d-0010-4000-8000-00000000feed \
    --new=1:2048:18431 --typecode=1:ef00 --change-name=1:EFI --partition-guid=1:0a1b2c3d-0011-4000-8000-00000000feed \
    --new=2:18432:145407 --typecode=2:8e00 --change-name=2:system --partition-guid=2:0a1b2c3d-0012-4000-8000-00000000feed \
    disk.raw >/dev/null
pv_at=$((18432 * 512))
pv_size=$(((145408 - 18432) * 512))

mkfs.fat --invariant -F 16 -s 1 -n EFI -i "$(echo $ESP_ID | tr -d -)" --offset 2048 disk.raw 8192 >/dev/null 2>&1
printf 'MZ, a boot loader would be here\n' >loader
printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\n' $ROOT_UUID >grub.cfg
touch -d @1700000000 loader grub.cfg
esp=disk.raw@@$MIB
mmd -i $esp ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -m -i $esp loader ::/EFI/BOOT/BOOTX64.EFI
mcopy -m -i $esp loader "::/EFI/debian/shim with a long name.efi"
mcopy -m -i $esp grub.cfg ::/EFI/debian/grub.cfg

# --- the volume group, with LVM's own tools and no device mapper; a configuration that sees this loop device only ---
loop=$(losetup --find --show --offset $pv_at --sizelimit $pv_size disk.raw)
export LVM_SYSTEM_DIR="$work/lvm" LVM_SUPPRESS_FD_WARNINGS=1
cat >lvm/lvm.conf <<CONF
devices { use_devicesfile = 0 filter = [ "a|^$loop\$|", "r|.*|" ] }
backup { backup = 0 archive = 0 }
global { event_activation = 0 use_lvmpolld = 0 }
CONF
tool() { name=$1; shift; lvm "$name" --driverloaded n "$@" 2>>lvm.log || { cat lvm.log >&2; exit 1; }; }
tool pvcreate -q -q --uuid DemoPv-0000-0000-0000-0000-0000-000001 --norestorefile "$loop" >/dev/null
tool vgcreate -q -q --physicalextentsize 1m demo "$loop" >/dev/null
# home first and in two pieces: what follows it must be found by its extents, not by luck.
tool lvcreate -q -q -an -Zn -Wn -n home -L 8m demo >/dev/null
tool lvcreate -q -q -an -Zn -Wn -n root -L 40m demo >/dev/null
tool lvcreate -q -q -an -Zn -Wn -n swap -L 4m demo >/dev/null
tool lvextend -q -q -L 12m demo/home >/dev/null
# The group's and the volumes' own UUIDs, the same every time.
tool vgcfgbackup -q -q -f before.txt demo >/dev/null
awk '/^[ \t]*id = / && !/DemoPv/ { n++; sub(/"[^"]*"/, sprintf("\"DemoId-0000-0000-0000-0000-0000-%06d\"", n)) } { print }' before.txt >after.txt
tool vgcfgrestore -q -q -f after.txt demo >/dev/null
pe_start=$(tool pvs --noheadings --units b --nosuffix -o pe_start "$loop" | tr -d ' ')
# put FILE VOLUME: writes a volume's content to its extents, segment by segment.
put() {
    at=0
    tool lvs --noheadings --segments -o seg_pe_ranges "demo/$2" | sed 's/.*://' | while IFS=- read -r first last; do
        count=$((last - first + 1))
        dd if="$1" of=disk.raw bs=$MIB iflag=skip_bytes oflag=seek_bytes conv=notrunc,sparse status=none \
            skip=$((at * MIB)) count=$count seek=$((pv_at + pe_start + first * MIB))
        at=$((at + count))
    done
}

# --- swap and the two file systems --------------------------------------------------------------------------------
truncate -s 4M swap.fs && chmod 600 swap.fs && mkswap -q -L swap -U $SWAP_UUID swap.fs
truncate -s 40M root.fs
truncate -s 12M home.fs
mke2fs -q -t ext4 -b 4096 -L root -U $ROOT_UUID -E hash_seed=$ROOT_UUID,lazy_itable_init=0 root.fs
mke2fs -q -t ext4 -b 1024 -L home -U $HOME_UUID -E hash_seed=$HOME_UUID,lazy_itable_init=0 home.fs

noise() { awk -v n="$1" -v x="$2" 'BEGIN { for (i = 0; i < n; i++) { x = (x * 1103515245 + 12345) % 2147483648; printf "%08x\n", x } }'; }

mount -o loop root.fs mnt
(
    cd mnt
    mkdir -p boot/efi dev etc/default home proc root run srv sys tmp usr/bin usr/lib usr/sbin usr/share/doc/demo var/log var/lib/dpkg var/cache
    for link in bin sbin lib; do ln -s usr/$link $link; done
    chmod 1777 tmp; chmod 0700 root
    cat >etc/os-release <<TEXT
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
TEXT
    echo 12.7 >etc/debian_version
    echo demo-guest >etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 demo-guest\n' >etc/hosts
    cat >etc/fstab <<TEXT
# <file system>  <mount point>  <type>  <options>          <dump> <pass>
UUID=$ROOT_UUID  /          ext4  errors=remount-ro  0 1
/dev/mapper/demo-home  /home  ext4  defaults  0 2
UUID=$ESP_ID  /boot/efi  vfat  umask=0077  0 1
UUID=$SWAP_UUID  none  swap  sw  0 0
TEXT
    printf 'root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000:Anna:/home/anna:/bin/sh\n' >etc/passwd
    printf 'root:*:19700:0:99999:7:::\nanna:!:19700:0:99999:7:::\n' >etc/shadow
    chmod 0640 etc/shadow; chown 0:42 etc/shadow
    ln -s /usr/share/zoneinfo/Europe/Berlin etc/localtime
    ln -s ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
    # An ELF header of a 64-bit x86 program; no program follows it.
    printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\003\000\076\000\001\000\000\000' >usr/bin/ls
    head -c 40 /dev/zero >>usr/bin/ls
    cp usr/bin/ls usr/bin/ping; cp usr/bin/ls usr/bin/dash; cp usr/bin/ls usr/bin/su
    ln -s dash usr/bin/sh
    chmod 0755 usr/bin/*; chmod 4755 usr/bin/su
    setcap cap_net_raw=ep usr/bin/ping
    echo 'A hard link has no original.' >usr/share/doc/demo/one
    ln usr/share/doc/demo/one usr/share/doc/demo/two
    ln usr/share/doc/demo/one srv/three
    seq -f 'Package: demo-%g' 1 400 >var/lib/dpkg/status
    seq -f 'Nov 14 22:13:20 demo-guest kernel: [%g] nothing happened' 1 2000 >var/log/syslog
    setfattr -n user.origin -v 'made by make.sh' srv/three
    setfacl -m u:1000:r,g:4:r,m::r var/log/syslog
    setfacl -d -m u:1000:rwx srv
    truncate -s 20M var/cache/sparse
    noise 40 7 | dd of=var/cache/sparse bs=1 seek=8M conv=notrunc status=none
    fallocate -l 256K var/cache/unwritten
    : >"usr/share/doc/$(printf 'long-%.0s' $(seq 50))name"
    : >"usr/share/doc/gr$(printf '\303\274')n"
    : >"usr/share/doc/$(printf 'not-utf8-\377')"
    mkfifo run/initctl
    mkdir var/lib/many; (cd var/lib/many; seq -f 'entry-%04g' 1 600 | xargs touch)
    # These are removed below.
    seq -f 'draft %g: the first version' 1 12 >root/draft.txt
    seq -f 'Oct  1 00:00:00 demo-guest daemon: message %g' 1 6000 >var/log/old.log
    noise 12000 3 >srv/measurements.dat
    mkdir root/letters
    for n in 1 2 3; do seq -f "letter $n, line %g" 1 $((n * 100)) >root/letters/$n.txt; done
    # One file in many pieces: two grow in turns, and are synced so that allocation cannot tidy up.
    for n in $(seq 1 40); do noise 450 "$n" >>srv/in-pieces.dat; sync srv/in-pieces.dat; noise 450 "$((n + 99))" >>srv/between.dat; sync srv/between.dat; done
    for file in root/draft.txt var/log/old.log srv/measurements.dat root/letters/*.txt srv/in-pieces.dat; do sha256sum "$file"; done >"$work/deleted.txt"
    filefrag srv/in-pieces.dat
    find . -xdev -depth -exec touch -h -d @1700000000.123456789 {} +
)
umount mnt
# Device nodes as debugfs makes them, so that the script needs no right to create devices.
debugfs -w -f - root.fs >/dev/null 2>&1 <<CMD
cd /dev
mknod null c 1 3
mknod sda b 8 0
mknod tty c 5 0
sif null mode 0020666
CMD

mount -o loop home.fs mnt
(
    cd mnt
    mkdir anna anna/.config
    printf 'export EDITOR=ed\n' >anna/.profile
    seq -f 'chapter %g' 1 3000 >anna/book.txt
    ln -s book.txt anna/latest
    chown -R -h 1000:1000 anna
    chmod 0750 anna
    find . -xdev -depth -exec touch -h -d @1700000100.987654321 {} +
)
umount mnt

put root.fs root; put home.fs home; put swap.fs swap
qemu-img convert -c -O qcow2 disk.raw base.qcow2

# --- the guest goes on living: what changes now is in the upper image ----------------------------------------------
mount -o loop root.fs mnt
(
    cd mnt
    rm root/draft.txt var/log/old.log srv/measurements.dat srv/in-pieces.dat
    rm -r root/letters
    sync -f .
    echo 12.8 >etc/debian_version
    seq -f 'Nov 15 08:00:00 demo-guest kernel: [%g] woken up' 1 500 >>var/log/syslog
    echo 'this file is in the upper image only' >root/new.txt
    touch -d @1700050000.5 etc/debian_version var/log/syslog root/new.txt root var/log srv
)
umount mnt
mount -o loop home.fs mnt
seq -f 'chapter %g, revised' 1 200 >mnt/anna/book.txt
touch -d @1700050001 mnt/anna/book.txt
umount mnt
put root.fs root; put home.fs home

cp base.qcow2 "$here/base.qcow2"
cd "$here"
# An overlay on the new state, rebased to the old: what differs moves into it. Then the same, compressed.
qemu-img create -q -f qcow2 -b "$work/disk.raw" -F raw "$work/overlay.qcow2"
qemu-img rebase -b "$work/base.qcow2" -F qcow2 "$work/overlay.qcow2"
qemu-img convert -c -O qcow2 -B base.qcow2 -F qcow2 "$work/overlay.qcow2" guest.qcow2
cp "$work/deleted.txt" deleted.txt

# --- what is expected: as the kernel and mtools show it ----------------------------------------------------------------------
walker=$XTASK
mount -o ro,noload,loop "$work/root.fs" "$work/mnt"
mount -o ro,noload,loop "$work/home.fs" "$work/mnt/home"
"$walker" manifest --extents "$work/mnt" >root.json
umount "$work/mnt/home" "$work/mnt"
mkdir "$work/esp"
mcopy -s -m -i "$work/$esp" :: "$work/esp"
"$walker" manifest "$work/esp" >esp.json
ls -l base.qcow2 guest.qcow2
