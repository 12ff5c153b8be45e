# A cache and a writecache as a power cut leaves them.
group 64k
lvcreate -q -q -y -Wn -Zn -L 1m -n cached vg >/dev/null
fill cached 0 2048 slow
lvcreate -q -q -y --type cache-pool -L 1m --poolmetadatasize 2m --cachemode writeback -c 32k -n fast vg >/dev/null
lvconvert -q -q -y --cache --cachepool vg/fast --cachemode writeback vg/cached >/dev/null
lvcreate -q -q -y -Wn -Zn -L 1m -n written vg >/dev/null
fill written 0 2048 slow
lvcreate -q -q -y -Wn -Zn -L 1m -n ahead vg >/dev/null
lvchange -q -q -an vg/written vg/ahead
lvconvert -q -q -y --type writecache --cachevol ahead --cachesettings 'low_watermark=90 high_watermark=95' vg/written >/dev/null
lvchange -q -q -ay vg/written
dmsetup message vg-cached 0 migration_threshold 20000 || true
for round in 1 2 3 4 5 6 7 8; do
    for volume in cached written; do
        for at in 64 640 1300 1920; do fill $volume $at 20 round$round; done
    done
    sleep 0.3
done
# From now on nothing is written back, so that what is changed stays dirty.
dmsetup message vg-cached 0 migration_threshold 0
for volume in cached written; do
    for at in 70 1310 1925; do fill $volume $at 5 dirty; done
done
dmsetup status >>/mnt/status
record cached written
