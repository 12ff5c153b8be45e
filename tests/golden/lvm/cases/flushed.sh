# A writecache that was stopped properly, so that nothing is in it.
group 64k
lvcreate -q -q -y -Wn -Zn -L 2m -n written vg >/dev/null
fill written 0 4096 slow
lvcreate -q -q -y -Wn -Zn -L 1m -n ahead vg >/dev/null
lvchange -q -q -an vg/written vg/ahead
lvconvert -q -q -y --type writecache --cachevol ahead vg/written >/dev/null
lvchange -q -q -ay vg/written
fill written 100 300 fast
record written
off
