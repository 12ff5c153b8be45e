# Second half: started without the first disk, they go on; that disk is behind when it is there again.
vgchange -q -q -ay --activationmode degraded vg >/dev/null 2>&1 || true
for volume in raid1 raid5; do fill $volume 40 100 new; done
case=stale record raid1 raid5
off
