# A pool with volumes that share blocks, one with an external origin, one that was deleted; then the pool's transaction id moves on.
group 64k
lvcreate -q -q -y --type thin-pool -L 6m --poolmetadatasize 2m -c 64k -n pool vg >/dev/null
lvcreate -q -q -V 64m -n one --thinpool pool vg >/dev/null
mkdir /tmp/tree
echo before >/tmp/tree/note
echo later >/tmp/later
mke2fs -q -d /tmp/tree -t ext4 -O ^has_journal -b 4096 -N 64 -L thin -E lazy_itable_init=0,hash_seed=11111111-0000-4000-8000-0000000000bb /dev/vg/one 16m
fill one 100000 300 one
lvcreate -q -q -s -n snap -kn -ay vg/one >/dev/null
debugfs -w -R 'write /tmp/later later' /dev/vg/one 2>/dev/null
fill one 100100 40 later
fill one 131060 12 end
fill snap 100250 200 snap
lvcreate -q -q -s -n second -kn -ay vg/snap >/dev/null
fill second 7 1 second
lvcreate -q -q -V 1m -n gone --thinpool pool vg >/dev/null
fill gone 0 100 gone
lvremove -q -q -y vg/gone >/dev/null
lvcreate -q -q -V 1m -n empty --thinpool pool vg >/dev/null
lvcreate -q -q -y -Wn -Zn -L 448k -n base vg >/dev/null
fill base 0 896 base
lvchange -q -q -an vg/base
lvchange -q -q -pr vg/base
lvcreate -q -q -s -n outer --thinpool pool vg/base >/dev/null
fill outer 130 4 outer
# An external origin is shorter than its thin volume when that grows.
lvextend -q -q -L 1m vg/outer >/dev/null
fill outer 1900 10 grown
record one snap second empty outer
# Zeroes in the middle of a volume are discarded.
blkdiscard -f -o 51200000 -l 65536 /dev/vg/one
record one
# A snapshot that is to be merged into its origin, which is in use: the kernel shows the snapshot from the next activation on.
lvcreate -q -q -V 1m -n back --thinpool pool vg >/dev/null
fill back 0 300 back
lvcreate -q -q -s -n merge -kn -ay vg/back >/dev/null
fill back 100 300 changed
fill merge 500 100 snapped
record merge
sed -i 's|vg/merge$|vg/back|' /mnt/sums
exec 3</dev/vg/back
lvconvert -q -q --merge vg/merge >/dev/null 2>&1
exec 3<&-
off
