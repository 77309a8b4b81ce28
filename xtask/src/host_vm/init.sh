#!/bin/busybox sh
# PID 1 of the outer machine until its root filesystem is there. The root is the
# host's, read-only by 9p, with an overlay on an ext4 disk so that every path
# can be written and nothing reaches the host.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    insmod "$module" || echo "insmod $module failed"
done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host || echo "no 9p"
mount -t ext4 /dev/vda /disk || echo "no disk"
mkdir -p /disk/upper /disk/work /disk/tmp
mount -t overlay -o lowerdir=/host,upperdir=/disk/upper,workdir=/disk/work overlay /newroot || echo "no root"
mkdir -p /newroot/hako-vm/disk
cp /bin/busybox /main.sh /newroot/hako-vm/
mount --move /disk /newroot/hako-vm/disk
for dir in dev sys proc; do
    mount --move "/$dir" "/newroot/$dir"
done
exec switch_root /newroot /hako-vm/main.sh
