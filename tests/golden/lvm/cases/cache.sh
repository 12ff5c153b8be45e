# Caches with dirty blocks, shut down cleanly, in both formats; one of which is in writethrough mode; one in a single volume.
group 64k
for format in 1 2; do
    lvcreate -q -q -y -Wn -Zn -L 1m -n format$format vg >/dev/null
    fill format$format 0 2048 slow$format
    lvcreate -q -q -y --type cache-pool -L 1m --poolmetadatasize 2m --cachemetadataformat $format --cachemode writeback -c 32k -n fast$format vg >/dev/null
    lvconvert -q -q -y --cache --cachepool vg/fast$format --cachemode writeback vg/format$format >/dev/null
done
lvcreate -q -q -y -Wn -Zn -L 1m -n through vg >/dev/null
fill through 0 2048 through
lvcreate -q -q -y --type cache-pool -L 1m --poolmetadatasize 2m --cachemode writethrough -c 32k -n fast3 vg >/dev/null
lvconvert -q -q -y --cache --cachepool vg/fast3 --cachemode writethrough vg/through >/dev/null
lvcreate -q -q -y -Wn -Zn -L 1m -n single vg >/dev/null
fill single 0 2048 single
lvcreate -q -q -y -Wn -Zn -L 4m -n fast4 vg >/dev/null
lvconvert -q -q -y --type cache --cachevol fast4 --cachemode writeback -c 32k vg/single >/dev/null
for volume in format1 format2 through single; do
    dmsetup message vg-$volume 0 migration_threshold 20000 || true
    for round in 1 2 3 4 5 6 7 8; do
        for at in 64 640 1300 1920; do fill $volume $at 20 round$round; done
        sleep 0.3
    done
done
# From now on nothing is written back, so that what is changed stays dirty.
for volume in format1 format2 through single; do
    dmsetup message vg-$volume 0 migration_threshold 0
    for at in 70 1310 1925; do fill $volume $at 5 dirty; done
done
for volume in format1 format2 through single; do dmsetup status vg-$volume >>/mnt/status; done
record format1 format2 through single
off
