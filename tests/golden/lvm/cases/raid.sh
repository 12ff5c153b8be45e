# Every RAID type over six disks; the two halves of a mirror and its log.
group 16k
make() {
    name=$1; shift
    lvcreate -q -q -y -Wn -Zn --nosync -n "$name" "$@" vg >/dev/null 2>/mnt/error || { cat /mnt/error; lvcreate -y -Wn -Zn -n "$name" "$@" vg >/dev/null; }
}
make raid0 --type raid0 -i 3 -I 4k -l 12
make raid0_meta --type raid0_meta -i 3 -I 8k -l 12
make raid1 --type raid1 -m 1 -l 8
make raid1_three --type raid1 -m 2 -l 8
make mirror --type mirror -m 1 -l 8 -R 4k
make core --type mirror -m 1 --mirrorlog core -l 8
make raid4 --type raid4 -i 3 -I 4k -l 12
for layout in la ra ls rs n; do make raid5_$layout --type raid5_$layout -i 3 -I 4k -l 12; done
for layout in zr nr nc ls_6 rs_6 la_6 ra_6 n_6; do lvcreate -q -q -y -Wn -Zn -n raid6_$layout --type raid6_$layout -i 3 -I 4k -l 12 vg >/dev/null || echo "no raid6_$layout" >>/mnt/refused; done
make raid10 --type raid10 -i 2 -m 1 -I 4k -l 12
make raid10_three --type raid10 -i 3 -m 1 -I 8k -l 12
lvs --noheadings -o lv_name vg | while read -r volume; do fill $volume 0 $(blockdev --getsz /dev/vg/$volume) $volume; done
until [ -z "$(lvs --noheadings -o sync_percent vg | tr -d ' ' | grep -v '^100.00$' | grep .)" ]; do sleep 0.2; done
record $(lvs --noheadings -o lv_name vg)
off
