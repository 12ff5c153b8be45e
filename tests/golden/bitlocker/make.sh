#!/bin/sh
# Fetches the BitLocker volumes that the tests of cryptsetup use, and keeps ten of them as small images.
#
# Windows 7 to 11 made them; the source package of cryptsetup holds them as tests/bitlk-images.tar.xz, and images.conf
# in it has the passwords and the hashes of the content. Needs a deb-src line in the sources of apt, and qemu-utils.
set -eu

here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get source --download-only cryptsetup
tar -xf cryptsetup_*.orig.tar.gz --wildcards '*/tests/bitlk-images.tar.xz' --strip-components=2
tar -xf bitlk-images.tar.xz --strip-components=1
keep() {
    qemu-img convert -c -O qcow2 -o compression_type=zstd,cluster_size=4k "bitlk-$1.img" "$here/$2.qcow2"
}
for name in aes-cbc-128-4k aes-cbc-256 aes-cbc-elephant-128 aes-cbc-elephant-256 aes-xts-128-4k aes-xts-256; do
    keep $name $name
done
keep togo-aes-cbc-128 to-go
keep clearkey-aes-cbc-128 clear-key
keep aes-xts-128-eow encrypt-on-write
keep aes-xts-128-startup-key startup-key
cp 4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK "$here/startup-key.bek"
