#!/bin/sh
# Makes luks-on-lvm.qcow2 and lvm-on-luks.qcow2 beside this script: two small guests, all of whose volumes open with the passphrase
# `demo`. Needs root for loop devices, no device mapper: LVM's tools write metadata only, cryptsetup and qemu-img encrypt files.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
loop=
finish() { cd /; umount "$work/mnt" 2>/dev/null || true; [ -z "$loop" ] || losetup --detach "$loop"; rm -rf "$work"; }
trap finish EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
mkdir mnt lvm
export LC_ALL=C.UTF-8 TZ=UTC LVM_SYSTEM_DIR="$work/lvm" LVM_SUPPRESS_FD_WARNINGS=1
printf demo >key
MIB=1048576

tool() { verb=$1; shift; lvm "$verb" --driverloaded n "$@" 2>>lvm.log || { cat lvm.log >&2; exit 1; }; }
# group FILE NAME VOLUME=MIB...: a physical volume in a file, and the group's volumes.
group() {
    file=$1 name=$2; shift 2
    loop=$(losetup --find --show "$file")
    cat >lvm/lvm.conf <<CONF
devices { use_devicesfile = 0 filter = [ "a|^$loop\$|", "r|.*|" ] }
backup { backup = 0 archive = 0 }
global { event_activation = 0 use_lvmpolld = 0 }
CONF
    tool pvcreate -q -q --metadatasize 64k --dataalignment 128k "$loop" >/dev/null
    tool vgcreate -q -q --physicalextentsize 128k "$name" "$loop" >/dev/null
    for volume; do tool lvcreate -q -q -an -Zn -Wn -n "${volume%=*}" -L "${volume#*=}m" "$name" >/dev/null; done
    start=$(tool pvs --noheadings --units b --nosuffix -o pe_start "$loop" | tr -d ' ')
    # Each volume has one segment: put VOLUME FILE places its content.
    tool lvs --noheadings --separator ' ' -o lv_name,seg_pe_ranges "$name" >ranges
    losetup --detach "$loop"
    loop=
}
# put FILE AT VOLUME CONTENT: AT is where the physical volume begins.
put() {
    first=$(awk -v v="$3" '$1 == v { sub(/.*:/, "", $2); sub(/-.*/, "", $2); print $2 }' ranges)
    dd if="$4" of="$1" bs=128k oflag=seek_bytes conv=notrunc status=none seek=$(($2 + start + first * 131072))
}
# encrypt FILE UUID OPTION...: in place with LUKS2; the last 512 KiB of the file make room for the header.
encrypt() {
    file=$1 uuid=$2; shift 2
    cryptsetup reencrypt --encrypt --type luks2 --batch-mode --disable-locks --force-offline-reencrypt --key-file key --uuid "$uuid" \
        --reduce-device-size 1M --luks2-metadata-size 16k --luks2-keyslots-size 288k "$@" "$file" 2>>cryptsetup.log || { cat cryptsetup.log >&2; exit 1; }
}
file_system() { truncate -s "$2" "$1"; mke2fs -q -t ext4 -O ^has_journal -b "$5" -N 64 -L "$3" -U "$4" "$1"; }

# guest FILE NAME: what makes a root file system one.
guest() {
    mount -o loop "$1" mnt
    mkdir -p mnt/etc mnt/bin mnt/home mnt/root
    printf 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n' >mnt/etc/os-release
    echo "$2" >mnt/etc/hostname
    cat >mnt/etc/fstab
    cat crypttab >mnt/etc/crypttab
    seq 1 20000 >mnt/root/numbers
    umount mnt
}
home() { mount -o loop "$1" mnt; echo "$2" >mnt/note; umount mnt; }

ROOT=11111111-0000-4000-8000-0000000000aa
HOME_=22222222-0000-4000-8000-0000000000aa

# --- LUKS on LVM: two volumes of a group on a partition, each encrypted; names by crypttab ---------------------------
file_system root 512K root 1a2b3c4d-0001-4000-8000-0000000000aa 1024
file_system home 384K home 1a2b3c4d-0002-4000-8000-0000000000aa 4096
printf '# name  volume\ncryptroot UUID=%s none luks\ncrypt_home /dev/demo/home none luks\n' $ROOT >crypttab
guest root luks-on-lvm <<TEXT
/dev/mapper/cryptroot / ext4 defaults 0 1
/dev/mapper/crypt_home /home ext4 defaults 0 2
TEXT
home home 'home is on its own encrypted volume'
truncate -s 1536K root home
encrypt root $ROOT --pbkdf argon2id --pbkdf-memory 1024 --pbkdf-force-iterations 4 --pbkdf-parallel 2
encrypt home $HOME_ --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --sector-size 4096
truncate -s 6M pv
group pv demo root=2 home=2
put pv 0 root root
put pv 0 home home
truncate -s 8M disk
sgdisk --new=1:2048:14335 --typecode=1:8e00 disk >/dev/null
dd if=pv of=disk bs=$MIB seek=1 conv=notrunc status=none
qemu-img convert -c -O qcow2 disk "$here/luks-on-lvm.qcow2"

# --- LVM on LUKS1: a partition is encrypted, and the group is inside ------------------------------------------------
rm root home pv disk
file_system root 512K root 1a2b3c4d-0003-4000-8000-0000000000aa 1024
file_system home 384K home 1a2b3c4d-0004-4000-8000-0000000000aa 4096
printf 'sda1_crypt UUID=33333333-0000-4000-8000-0000000000aa none luks\n' >crypttab
guest root lvm-on-luks <<TEXT
/dev/mapper/vg-root / ext4 defaults 0 1
/dev/mapper/vg-home /home ext4 defaults 0 2
TEXT
home home 'home is a volume of the encrypted group'
truncate -s 2M pv
group pv vg root=1 home=0.5
put pv 0 root root
put pv 0 home home
qemu-img convert --object secret,id=s,data=demo -f raw -O luks -o key-secret=s,iter-time=1,cipher-alg=aes-128,cipher-mode=xts pv luks
cryptsetup luksUUID --batch-mode --disable-locks --uuid 33333333-0000-4000-8000-0000000000aa luks
truncate -s 8M disk
sgdisk --new=1:2048:14335 --typecode=1:8309 disk >/dev/null
dd if=luks of=disk bs=$MIB seek=1 conv=notrunc status=none
qemu-img convert -c -O qcow2 disk "$here/lvm-on-luks.qcow2"
ls -l "$here"
