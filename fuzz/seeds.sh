#!/bin/sh
# Makes the images that the fuzz targets change. Root: LVM's tools want block devices, and only the kernel writes fast
# commits. `cargo xtask setup fuzz` installs what this calls; `cargo xtask test --long` lets it call nothing else.
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
rm -rf seeds && mkdir -p seeds corpus/lvm_text corpus/inspect
scratch=$(mktemp -d)
loops=
finish() {
    umount "$scratch/mounted" 2>/dev/null || true
    for loop in $loops; do losetup -d "$loop" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT
seed() { mkdir -p "seeds/${1%/*}"; rm -f "seeds/$1"; truncate -s "$2" "seeds/$1"; }

# A tree with every kind of node, map and directory.
tree=$scratch/tree
mkdir -p "$tree/a/b/c"
i=0
while [ $i -lt 60 ]; do
    echo $i >"$tree/a/$(printf 'many-%03d-%0*d' $i $((i * 2 + 1)) 0)"
    i=$((i + 1))
done
echo small >"$tree/small"
head -c 60000 /dev/zero | tr '\0' 7 >"$tree/large"
for i in 1 2 3 4 5 6 7 8 9; do printf data | dd of="$tree/sparse" bs=1 seek=$((i * 20000)) conv=notrunc status=none; done
ln -s small "$tree/fast-link"
ln -s "$(printf '%0300d' 0)" "$tree/slow-link"
mkfifo "$tree/fifo"
mknod "$tree/device" c 4 70000

ext() {
    name=$1 size=$2
    shift 2
    seed "ext/$name" "$size"
    mke2fs -q -F -d "$tree" "$@" "seeds/ext/$name"
    e2fsck -fyD "seeds/ext/$name" >/dev/null || [ $? -le 1 ]
    head -c 3000 /dev/zero | tr '\0' x >"$scratch/value"
    debugfs -w -f - "seeds/ext/$name" >/dev/null 2>&1 <<-END
		ea_set small user.one 1
		ea_set small system.posix_acl_access -f $scratch/acl
		ea_set a user.two $(printf '%0200d' 0)
		ea_set large user.value -f $scratch/value
		END
}
# Version 2; user::rw-, user:1000:r--, group::r--, mask::r--, other::---
printf '\002\0\0\0\001\0\006\0\377\377\377\377\002\0\004\0\350\003\0\0\004\0\004\0\377\377\377\377\020\0\004\0\377\377\377\377\040\0\0\0\377\377\377\377' >"$scratch/acl"
plain='^metadata_csum,^uninit_bg,^resize_inode'
ext ext2 600K -t ext2 -b 1024 -I 128 -N 128 -O "$plain,^dir_index"
ext extents 600K -t ext4 -N 128 -b 1024 -I 256 -O "$plain,^has_journal,dir_index"
ext inline 600K -t ext4 -N 128 -b 1024 -I 512 -O "$plain,^has_journal,inline_data,ea_inode,large_dir"
ext groups 4M -t ext4 -b 1024 -g 1024 -N 256 -O "$plain,^has_journal,meta_bg,64bit,bigalloc" -C 4096
ext checksums 600K -t ext4 -N 128 -b 1024 -I 256 -O "^has_journal,metadata_csum,64bit,^resize_inode"
ext casefold 600K -t ext4 -N 128 -b 1024 -I 256 -O "$plain,^has_journal,casefold" -E encoding=utf8
for kind in ' ' '-c -v 2' '-c -v 3'; do
    name="journal$(echo "$kind" | tr -d ' ')"
    features="$plain"
    [ "$kind" = ' ' ] || features='metadata_csum,^resize_inode'
    ext "$name" 3M -t ext4 -N 128 -b 1024 -I 256 -J size=1 -O "$features"
    head -c 6000 /dev/zero | tr '\0' 8 >"$scratch/data"
    debugfs -w -f - "seeds/ext/$name" >/dev/null 2>&1 <<-END
		jo $kind
		jw -b 1900-1905 $scratch/data
		jw -r 1901,1950
		jw -b 40-43 $scratch/data
		jw -b 1901 /dev/zero
		jc
		END
done
ext fast 8M -t ext4 -N 128 -b 1024 -I 256 -J size=2,fast_commit_size=256 -O "$plain,fast_commit"
mkdir "$scratch/mounted"
mount -o loop "seeds/ext/fast" "$scratch/mounted"
for i in 1 2 3; do
    echo $i >"$scratch/mounted/new-$i"
    sync "$scratch/mounted/new-$i"
    rm "$scratch/mounted/a/many-00$i-"*
    ln "$scratch/mounted/new-$i" "$scratch/mounted/a/b/link-$i"
    truncate -s $((i * 3000)) "$scratch/mounted/large"
    sync "$scratch/mounted/large"
    sync "$scratch/mounted/new-$i"
done
cp "seeds/ext/fast" "$scratch/crashed"
umount "$scratch/mounted"
mv "$scratch/crashed" seeds/ext/fast

# qcow2, with tables, snapshots and clusters of every kind.
head -c 200000 /dev/zero | tr '\0' 5 >"$scratch/source"
seq 20000 >>"$scratch/source"
qcow2() {
    name=$1
    shift
    mkdir -p seeds/qcow2
    qemu-img convert -f raw -O qcow2 "$@" "$scratch/source" "seeds/qcow2/$name"
    qemu-img snapshot -c one "seeds/qcow2/$name"
    qemu-io -f qcow2 -c 'write -P 3 100k 9k' -c 'write -z 200k 64k' "seeds/qcow2/$name" >/dev/null
    qemu-img snapshot -c two "seeds/qcow2/$name"
}
qcow2 plain -o cluster_size=4k
qcow2 small -o cluster_size=512
qcow2 zlib -c -o cluster_size=4k
qcow2 zstd -c -o cluster_size=4k,compression_type=zstd
qcow2 extended -o cluster_size=16k,extended_l2=on
qcow2 two -o cluster_size=4k,compat=0.10
qemu-img create -q -f qcow2 -b "$scratch/source" -F raw -o cluster_size=4k seeds/qcow2/above
qemu-img create -q -f qcow2 -o "cluster_size=4k,data_file=$scratch/data.raw" seeds/qcow2/external 300k

# The other image formats: small disks of the same content, with tables, and where there is one with a log.
image() {
    name=$1 format=$2
    shift 2
    mkdir -p "seeds/${name%/*}"
    qemu-img convert -f raw -O "$format" "$@" "$scratch/source" "seeds/$name"
}
image vmdk/sparse vmdk
image vmdk/zeroed vmdk -o zeroed_grain=on
image vmdk/stream vmdk -o subformat=streamOptimized
image vmdk/extents.vmdk vmdk -o subformat=twoGbMaxExtentSparse
image vmdk/flat.vmdk vmdk -o subformat=monolithicFlat
qemu-img create -q -f vmdk -b sparse -F vmdk seeds/vmdk/delta
image vdi/dynamic vdi
image vdi/static vdi -o static=on
image vhd/dynamic vpc
image vhd/fixed vpc -o subformat=fixed
image vhdx/dynamic vhdx -o block_size=1M,log_size=1M
image vhdx/log vhdx -o block_size=1M,log_size=1M
# Ends without closing: the log is left to be replayed.
qemu-io -f vhdx -c 'write -P 9 0 64k' -c abort seeds/vhdx/log >/dev/null 2>&1 || true
image older/qcow qcow
qemu-img convert -c -f raw -O qcow "$scratch/source" seeds/older/packed || true
image older/qed qed -o cluster_size=4k,table_size=2
image older/parallels parallels -o cluster_size=64k

# Compressed files, with one part and with several. One line a file: its name and what writes it.
mkdir seeds/compressed
for line in "gzip-one gzip -cn" "gzip-blocked bgzip -c" "xz-one xz -0c" "xz-many xz -0c --block-size=64KiB -C crc32" \
    "xz-filters xz -c -C sha256 --delta=dist=4 --x86 --lzma2=preset=0" "zstd-one zstd -qc" "bzip2-one bzip2 -1c"; do
    ${line#* } "$scratch/source" >"seeds/compressed/${line%% *}"
done
split -b 90000 --filter='zstd -qc' "$scratch/source" >seeds/compressed/zstd-many
split -b 90000 --filter='bzip2 -c' "$scratch/source" >seeds/compressed/bzip2-many

# EWF of the kinds that differ in their sections, and appliances: an archive, a descriptor, and the one of Parallels.
mkdir -p seeds/ewf seeds/ova
for format in encase6 encase2 smart; do
    ewfacquire -q -u -f $format -b 16 -c fast -d sha1 -t "$scratch/$format" "$scratch/source" >/dev/null
    mv "$scratch/$format".[Es]01 "seeds/ewf/$format"
done
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$scratch/source" "$scratch/disk.vmdk"
qemu-img convert -f raw -O qcow2 -c "$scratch/source" "$scratch/disk.qcow2"
cat >"$scratch/vm.ovf" <<-END
	<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
	<References><File ovf:href="disk.vmdk" ovf:id="a"/><File ovf:href="disk.qcow2" ovf:id="b" ovf:chunkSize="0"/></References>
	<DiskSection><Disk ovf:capacity="1" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="c" ovf:fileRef="a"/></DiskSection>
	<VirtualSystem><VirtualHardwareSection><Item><HostResource>ovf:/disk/c</HostResource><InstanceID>1</InstanceID>
	<ResourceType>17</ResourceType></Item></VirtualHardwareSection></VirtualSystem></Envelope>
	END
cat >seeds/ova/parallels <<-END
	<?xml version="1.0"?><Parallels_disk_image Version="1.0"><StorageData><Storage><Start>0</Start><End>600</End><Image>
	<GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID><Type>Plain</Type><File>a</File></Image></Storage></StorageData>
	<Snapshots><Shot><GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
	<ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID></Shot></Snapshots></Parallels_disk_image>
	END
cp "$scratch/vm.ovf" seeds/ova/descriptor
for format in ustar gnu pax; do
    tar -C "$scratch" --format=$format -cf "seeds/ova/$format" vm.ovf disk.vmdk disk.qcow2
done

# Partition tables.
seed tables/mbr 1M
sfdisk -q seeds/tables/mbr <<-END
	start=64, size=200, type=83
	start=300, size=1700, type=5
	start=310, size=100, type=83
	start=420, size=100, type=82
	start=530, size=100, type=8e
	END
seed tables/gpt 256K
sgdisk -a 1 -n 1:40:60 -t 1:ef00 -c 1:boot -n 2:61:+20 -n 3:100:200 seeds/tables/gpt >/dev/null
# The same table in sectors of 4096 bytes: sector numbers stay, arrays are of as many bytes.
sectors=512
seed tables/gpt-4096 2M
copy() { dd if=seeds/tables/gpt of=seeds/tables/gpt-4096 bs=512 skip="$1" count="$2" seek="$3" conv=notrunc status=none; }
copy 0 1 0
copy 1 1 8
copy 2 32 16
copy $((sectors - 33)) 32 $(((sectors - 33) * 8))
copy $((sectors - 1)) 1 $(((sectors - 1) * 8))
seed tables/apple 2M
parted --script seeds/tables/apple mklabel mac mkpart first hfs 64KiB 1MiB mkpart second ext2 1MiB 1600KiB
truncate -s 64K seeds/tables/apple
seed tables/bsd 2M
parted --script seeds/tables/bsd mklabel bsd mkpart ext2 64KiB 1MiB mkpart linux-swap 1MiB 1600KiB
truncate -s 64K seeds/tables/bsd
# Members of arrays: those of one array in a row.
mkdir "$scratch/arrays"
zstd -dcq ../tests/golden/raid/arrays.tar.zst | tar --extract --directory "$scratch/arrays"
for array in version-0.90 version-1.0 raid5-left-symmetric raid6-left-symmetric raid10-f2-3 raid0-original linear-3 bad-blocks recovering journal-clean; do
    for member in 0 1 2 3; do
        [ ! -e "$scratch/arrays/$array/$member" ] || cp "$scratch/arrays/$array/$member" "seeds/tables/md-$array-$member"
    done
done

# Two physical volumes of one group, and one of another.
mkdir -p seeds/lvm
for pv in 1 2 3; do
    seed lvm/pv$pv 2M
    loop=$(losetup --show -f seeds/lvm/pv$pv)
    loops="$loops $loop"
done
mkdir "$scratch/lvm"
cat >"$scratch/lvm/lvm.conf" <<-END
	devices { use_devicesfile=0 filter=["a|^($(echo $loops | tr ' ' '|'))\$|","r|.*|"] }
	activation { udev_sync=0 udev_rules=0 }
	backup { backup=0 archive=0 }
	END
lvm() { LVM_SYSTEM_DIR=$scratch/lvm LVM_SUPPRESS_FD_WARNINGS=1 command lvm "$@" --driverloaded n >/dev/null 2>&1; }
set -- $loops
lvm pvcreate -q --metadatasize 32k --dataalignment 64k $loops
lvm vgcreate -q -s 64k fuzz-one "$1" "$2"
lvm vgcreate -q -s 64k fuzz-two "$3"
lvm lvcreate -q -an -Zn -Wn -l 4 -n linear fuzz-one
lvm lvcreate -q -an -Zn -Wn -l 8 -i 2 -I 16k -n striped fuzz-one
lvm lvextend -q -l +3 fuzz-one/linear
lvm lvcreate -q -an -Zn -Wn -l 1 -n small fuzz-two
for loop in $loops; do losetup -d "$loop"; done
loops=
for pv in 1 2 3; do
    # The text that holds: the header of the metadata area at byte 4096 says where.
    number() { od -An -tu8 -j "$1" -N 8 "seeds/lvm/pv$pv" | tr -d ' '; }
    tail -c +$((4096 + $(number 4136) + 1)) "seeds/lvm/pv$pv" | head -c "$(number 4144)" >"corpus/lvm_text/pv$pv"
done

# Volumes that need the kernel: thin, snapshot, RAID, cache. Their groups have one name and different identifiers.
for image in ../tests/golden/lvm/*.qcow2; do
    name=${image##*/}
    # Of RAID two disks are enough: the others are missing.
    case $name in raid-[3-6]* | flushed-*) continue ;; esac
    qemu-img convert -O raw "$image" "seeds/lvm/${name%.qcow2}"
done

# FAT.
fat() {
    name=$1 size=$2
    shift 2
    seed "fat/$name" "$size"
    mkfs.fat "$@" "seeds/fat/$name" >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mmd -i "seeds/fat/$name" ::dir ::dir/under
    mcopy -i "seeds/fat/$name" "$tree/large" "::dir/A long name with spaces.text"
    mcopy -i "seeds/fat/$name" "$tree/small" ::dir/under/small
    for i in 1 2 3 4 5 6 7 8 9; do mcopy -i "seeds/fat/$name" "$tree/small" "::many names to fill a cluster $i"; done
    mdel -i "seeds/fat/$name" "::many names to fill a cluster 4"
    mlabel -i "seeds/fat/$name" ::LABEL
}
fat fat12 400K -F 12 -s 1
fat fat16 5M -F 16 -s 1
fat fat32 36M -F 32 -s 1

# Contents that are known by name.
known() {
    name=$1 size=$2 keep=$3
    shift 3
    truncate -s "$size" "$scratch/$name"
    "$@" "$scratch/$name" >/dev/null 2>&1
    mkdir -p seeds/known
    head -c "$keep" "$scratch/$name" >"seeds/known/$name"
    rm "$scratch/$name"
}
known swap 1M 64K mkswap -L swap
known btrfs 128M 128K mkfs.btrfs -L btrfs
known xfs 320M 64K mkfs.xfs -L xfs
known ntfs 8M 64K mkntfs -F -Q -L ntfs
known luks1 4M 64K sh -c 'echo secret | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 "$0" -'
known luks2 18M 64K sh -c 'echo secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$0" -'
# The same, with all that unlocking reads; the slots of keys are as small as they can be.
mkdir -p seeds/luks
luks() { # name, size kept, options
    truncate -s 18M "$scratch/volume"
    keep=$2 name=$1
    shift 2
    printf secret | cryptsetup luksFormat -q --pbkdf-force-iterations 1000 "$@" "$scratch/volume" - 2>/dev/null
    head -c "$keep" "$scratch/volume" >"seeds/luks/$name"
    rm "$scratch/volume"
}
luks one 2200K --type luks1 --align-payload 4096
luks one-cbc 2200K --type luks1 --align-payload 4096 --cipher aes-cbc-essiv:sha256 --key-size 128
luks two 17M --type luks2 --pbkdf pbkdf2
mksquashfs "$tree/a" seeds/known/squashfs -quiet -no-progress >/dev/null
genisoimage -quiet -J -V iso -o seeds/known/iso "$tree/a/b"
truncate -s 64K seeds/known/iso

# A root file system: every file that is read is one block with a mark that the target replaces.
root=$scratch/root
mkdir -p "$root/etc/sysconfig" "$root/bin" "$root/usr/bin" "$root/home"
mark() { { echo "#@$1"; head -c 1024 /dev/zero | tr '\0' '\n'; } | head -c 1024 >"$root/$2"; }
mark fstab etc/fstab
mark os-release etc/os-release
mark lsb-release etc/lsb-release
mark hostname etc/hostname
mark debian_version etc/debian_version
mark bash bin/bash
mark network etc/sysconfig/network
seed inspect/1-root 200K
mke2fs -q -F -t ext2 -b 1024 -O ^metadata_csum -L root -U 11111111-2222-3333-4444-555555555555 -d "$root" seeds/inspect/1-root
cp seeds/tables/mbr seeds/inspect/2-disk
printf 'UUID=11111111-2222-3333-4444-555555555555 / ext4 defaults 0 1\n/dev/sdb1 /home ext4 ro 0 2\nLABEL="a\\040b" /mnt\\040x vfat\n/dev/mapper/a--b-c /var xfs\n/dev/disk/by-path/pci-0-part1 /srv ext4\n/dev/nvme1n1p5 /opt ext4 defaults\n\377NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\nPRETTY_NAME='"'x'"'\n\377DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n\377host.name\n\37712.4\n\377\177ELF\002\001\001\003\0\0\0\0\0\0\0\0\003\0\076\0\377HOSTNAME=a\n' >corpus/inspect/real
./seeds-deleted.sh
du -sh seeds
