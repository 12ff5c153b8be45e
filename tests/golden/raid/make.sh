#!/bin/sh
# Makes what is beside this script, with the arrays that Linux's own driver wrote:
#   arrays.tar.zst  members of arrays, a folder an array; their content is one and the same: sector N holds the line N, 64 times (arrays.sh)
#   raid*-?.qcow2   the disks of two small guests (guests.sh)
# The driver comes from Debian's user-mode-linux, a kernel that runs as an ordinary process: neither root nor a virtual machine is needed.
# A name after the script makes only that: arrays or guests.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
export LC_ALL=C.UTF-8 TZ=UTC
seq -f %07g 0 8191 | awk '{ for (i = 0; i < 64; i++) print }' >content
mkdir arrays guests
cp "$here/arrays.sh" "$here/guests.sh" .
cat >init <<INIT
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TZ=UTC
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run
mkdir -p /run/modules/lib /run/work /run/mdadm
ln -s /usr/lib/uml/modules /run/modules/lib/modules
for module in loop linear raid0 raid1 raid10 raid456 dm-mod; do modprobe -d /run/modules \$module; done
mount -t hostfs -o $work hostfs /run/work && cd /run/work && sh -eu inside.sh && touch finished
sync
echo o >/proc/sysrq-trigger
sleep 60
INIT
chmod +x init
# inside SCRIPT: runs it as root on that kernel, in this directory.
inside() {
    rm -f finished
    cp "$1" inside.sh
    timeout 600 linux.uml mem=256M quiet root=/dev/root rootfstype=hostfs rootflags=/ ro init="$work/init" con=null con0=null,fd:1 \
        </dev/null >log 2>&1 || true
    [ -z "${VERBOSE:-}" ] || cat log
    [ -e finished ] || { cat log >&2; exit 1; }
}

if [ "${1:-arrays}" = arrays ]; then
    inside arrays.sh
    tar --create --sparse --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory=arrays . |
        zstd -q -f -19 --ultra --long=27 -o "$here/arrays.tar.zst"
fi
[ "${1:-guests}" = guests ] || exit 0

# tree DIRECTORY NAME: what makes a root file system one.
tree() {
    mkdir -p "$1/etc/mdadm" "$1/bin" "$1/home" "$1/boot" "$1/srv" "$1/root"
    printf 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n' >"$1/etc/os-release"
    echo "$2" >"$1/etc/hostname"
    seq 1 2000 >"$1/root/numbers"
}
# file_system FILE KIB LABEL: of the tree of that name.
file_system() { truncate -s "$2k" "$1"; mke2fs -q -t ext4 -O ^has_journal -b 1024 -N 64 -L "$3" -d "$3" "$1"; }

BOOT=0b007000:11112222:33334444:55556666
tree root raid1
cat >root/etc/fstab <<TEXT
/dev/md/root / ext4 defaults 0 1
/dev/md5 /boot ext4 defaults 0 2
TEXT
printf 'HOMEHOST <system>\nARRAY /dev/md5 metadata=1.0\n   UUID=%s\n' $BOOT >root/etc/mdadm/mdadm.conf
mkdir boot
echo 'a kernel' >boot/vmlinuz
file_system root.img 1024 root
file_system boot.img 320 boot
echo "BOOT=$BOOT" >uuids

tree root5 raid5
cat >root5/etc/fstab <<TEXT
/dev/md0p1 / ext4 defaults 0 1
/dev/demo/home /home ext4 defaults 0 2
/dev/mapper/srv_crypt /srv ext4 defaults 0 2
TEXT
echo 'srv_crypt /dev/md0p3 none luks' >root5/etc/crypttab
mkdir home5 srv5
echo 'home is a volume on an array' >home5/note
echo 'srv is encrypted on an array' >srv5/note
file_system root5.img 1024 root5
file_system home5.img 256 home5
file_system srv5.img 128 srv5
# LUKS1, with the smallest key, because a key takes 4000 times its size on the disk.
qemu-img convert --object secret,id=s,data=demo -f raw -O luks -o key-secret=s,iter-time=1,cipher-alg=aes-128,cipher-mode=xts srv5.img srv5.luks
inside guests.sh
for disk in guests/*; do qemu-img convert -c -O qcow2 -o cluster_size=16k "$disk" "$here/$(basename "$disk").qcow2"; done
ls -l "$here"
