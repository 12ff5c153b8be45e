#!/bin/sh
# Makes arrays.tar.zst beside this script: members of MD arrays as Linux's own driver wrote them, a folder an array. Their content is one and the
# same: sector N holds the line N, 64 times. The driver comes from Debian's user-mode-linux, a kernel that runs as an ordinary process, so that
# neither root nor a virtual machine is needed. Needs the packages mdadm, kmod, zstd and (unpacked here, not installed) user-mode-linux.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
export LC_ALL=C.UTF-8 TZ=UTC
if [ -n "${UML:-}" ]; then
    ln -s "$UML" uml
else
    apt-get download user-mode-linux >&2
    dpkg -x user-mode-linux_*.deb uml
fi
seq -f %07g 0 8191 | awk '{ for (i = 0; i < 64; i++) print }' >content
mkdir arrays
cp "$here/arrays.sh" inside.sh
cat >init <<INIT
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TZ=UTC
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run
mkdir -p /run/modules/lib /run/work /run/mdadm
ln -s $work/uml/usr/lib/uml/modules /run/modules/lib/modules
for module in loop linear raid0 raid1 raid10 raid456; do modprobe -d /run/modules \$module; done
mount -t hostfs -o $work hostfs /run/work && cd /run/work && sh -eu inside.sh && touch finished
sync
echo o >/proc/sysrq-trigger
sleep 60
INIT
chmod +x init
run() {
    timeout 600 uml/usr/bin/linux.uml mem=256M quiet root=/dev/root rootfstype=hostfs rootflags=/ ro init="$work/init" con=null con0=null,fd:1 \
        </dev/null >log 2>&1 || true
    [ -e finished ] || { cat log >&2; exit 1; }
}
run
[ -z "${VERBOSE:-}" ] || cat log
tar --create --sparse --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory=arrays . | zstd -q -19 --ultra --long=27 >"$here/arrays.tar.zst"
