# First half: mirrors that are whole.
group 16k
lvcreate -q -q -y -Wn -Zn --nosync --type raid1 -m 1 -l 8 -n raid1 vg >/dev/null
lvcreate -q -q -y -Wn -Zn --type raid5 -i 2 -I 4k -l 8 -n raid5 vg >/dev/null
for volume in raid1 raid5; do fill $volume 0 256 old; done
until [ -z "$(lvs --noheadings -o sync_percent vg | tr -d ' ' | grep -v '^100.00$' | grep .)" ]; do sleep 0.2; done
off
