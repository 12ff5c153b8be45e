# Old-style snapshots with two sizes of chunks, one that overflowed, and one that is being merged.
group 64k
lvcreate -q -q -y -Wn -Zn -L 1m -n origin vg >/dev/null
fill origin 0 2048 origin
lvcreate -q -q -s -c 4k -L 512k -n small vg/origin >/dev/null
fill origin 8 50 second
lvcreate -q -q -s -c 16k -L 512k -n large vg/origin >/dev/null
fill small 1000 100 small
fill large 1040 30 large
fill origin 1030 30 third
fill origin 2040 8 end
record origin small large
lvcreate -q -q -s -c 4k -L 128k -n full vg/origin >/dev/null
fill origin 100 400 overflow
record origin
lvcreate -q -q -y -Wn -Zn -L 1m -n back vg >/dev/null
fill back 0 2048 back
# Enough exceptions for a second area: 256 in each of 4 KiB chunks.
lvcreate -q -q -s -c 4k -L 1344k -n merge vg/back >/dev/null
fill back 16 1800 changed
fill merge 64 1900 snapped
record merge
# The origin is in use, so that the merge waits for the next activation; the kernel would show the snapshot's content then.
exec 3</dev/vg/back
lvconvert -q -q --merge vg/merge >/dev/null 2>&1
sed -i 's|vg/merge$|vg/back|' /mnt/sums
