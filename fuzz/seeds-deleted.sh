#!/bin/sh
# Makes the images of the target `deleted`: the kernel and mtools delete. Root; `seeds.sh` calls it.
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
mkdir -p seeds/deleted
mounted=$(mktemp -d)
finish() {
    umount "$mounted" 2>/dev/null || true
    rmdir "$mounted"
}
trap finish EXIT
content() { seq "$1" $(($1 + $2)); }

# Files of several sizes, in pieces, with holes, linked and in directories; deleted, and the space used again.
ext() {
    image=seeds/deleted/$1 size=$2 options=$3
    shift 3
    rm -f "$image"
    truncate -s "$size" "$image"
    mke2fs -q -F -N 128 -b 1024 "$@" "$image"
    mount -o "loop,$options" "$image" "$mounted"
    mkdir -p "$mounted/a/b" "$mounted/c"
    for i in 1 2 3 4 5 6 7 8 9; do
        content $i $((i * 900)) >"$mounted/a/b/file-$i"
        sync "$mounted/a/b/file-$i"
        echo $i >"$mounted/c/small-$i"
    done
    for i in 1 2 3 4 5 6; do
        content $i 900 >>"$mounted/pieces"
        sync "$mounted/pieces"
        content $i 900 >>"$mounted/c/between"
        sync "$mounted/c/between"
        content $i 9 | dd of="$mounted/sparse" bs=1 seek=$((i * 9000)) conv=notrunc status=none
    done
    ln "$mounted/pieces" "$mounted/c/linked"
    ln -s target "$mounted/a/fast"
    ln -s "$(printf '%0200d' 0)" "$mounted/a/slow"
    mknod "$mounted/a/fifo" p
    sync -f "$mounted"
    umount "$mounted"
    mount -o "loop,$options" "$image" "$mounted"
    rm -r "$mounted/a" "$mounted/pieces" "$mounted/c/linked"
    sync -f "$mounted"
    rm "$mounted/c/small-3" "$mounted/sparse"
    content 5 3000 >"$mounted/c/new"
    content 1 9 >"$mounted/c/between"
    sync -f "$mounted"
    exec 9<"$mounted/c/small-5"
    rm "$mounted/c/small-5"
    sync -f "$mounted"
    if [ "${image%-open}" != "$image" ]; then cp "$image" "$image.copy"; fi
    exec 9<&-
    umount "$mounted"
    if [ -e "$image.copy" ]; then mv "$image.copy" "$image"; fi
}
ext checksums 4M rw -t ext4 -I 256 -J size=1 -O metadata_csum,64bit,^resize_inode
ext plain 4M rw -t ext4 -I 128 -J size=1 -O ^metadata_csum,^resize_inode
ext pointers 4M rw -t ext3 -I 128 -J size=1 -O ^resize_inode
ext inline 4M rw -t ext4 -I 512 -J size=1 -O metadata_csum,inline_data,^resize_inode
ext orphan-open 4M rw -t ext4 -I 256 -J size=1 -O metadata_csum,orphan_file,^resize_inode
ext journalled 4M rw,data=journal -t ext4 -I 256 -J size=1 -O ^metadata_csum,^resize_inode
ext fast 8M rw,commit=600 -t ext4 -I 256 -J size=2,fast_commit_size=256 -O metadata_csum,fast_commit,^resize_inode

fat() {
    image=seeds/deleted/$1 size=$2
    shift 2
    rm -f "$image"
    truncate -s "$size" "$image"
    mkfs.fat "$@" "$image" >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mmd -i "$image" ::dir ::dir/under ::gone ::gone/under
    for i in 1 2 3 4 5 6 7 8 9; do
        content $i $((i * 400)) >"$mounted.file"
        mcopy -i "$image" "$mounted.file" "::gone/a long name of file $i"
        mcopy -i "$image" "$mounted.file" "::gone/under/F$i"
        mcopy -i "$image" "$mounted.file" "::dir/under/stays and goes $i"
    done
    rm "$mounted.file"
    mdel -i "$image" "::dir/under/stays and goes 2" "::dir/under/stays and goes 7"
    mdeltree -i "$image" ::gone
    content 3 2000 >"$mounted.file"
    mcopy -i "$image" "$mounted.file" ::dir/later
    rm "$mounted.file"
}
fat fat12 400K -F 12 -s 1
fat fat16 5M -F 16 -s 1
fat fat32 36M -F 32 -s 1
