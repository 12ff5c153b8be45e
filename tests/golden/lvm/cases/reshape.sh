# RAID 5 that got another disk, and RAID 5 that got larger stripes: both keep space that the reshape needed.
group 16k
wait_for_sync() { until [ -z "$(lvs --noheadings -o sync_percent vg | tr -d ' ' | grep -v '^100.00$' | grep .)" ]; do sleep 0.2; done; }
for volume in wider chunk; do
    lvcreate -q -q -y -Wn -Zn --type raid5 -i 2 -I 4k -l 16 -n $volume vg >/dev/null
    fill $volume 0 512 $volume
done
wait_for_sync
lvconvert -q -q -y --stripes 3 vg/wider >/dev/null
wait_for_sync
lvconvert -q -q -y --stripesize 8k vg/chunk >/dev/null
wait_for_sync
# The kernel learns the new size when it starts anew.
off
vgchange -q -q -ay vg >/dev/null
fill wider 512 256 more
record wider chunk
off
