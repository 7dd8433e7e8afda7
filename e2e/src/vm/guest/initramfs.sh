#!/bin/busybox sh
# The initramfs: finds the disk it was loaded from, and hands over to it.
/bin/busybox mount -t devtmpfs dev /dev
exec >/dev/console 2>&1 </dev/console

while read -r module; do
    /bin/busybox insmod "/lib/$module"
done </modules

# A driver may still be looking at its device when it has been loaded.
tries=0
while [ ! -b /dev/vda1 ] && [ "$tries" -lt 30 ]; do
    /bin/busybox sleep 1
    tries=$((tries + 1))
done

/bin/busybox mount -t ext4 -o rw /dev/vda1 /root && exec /bin/busybox switch_root /root /sbin/init
echo "VMDISK-DEMO FAILED: the initramfs cannot mount /dev/vda1"
/bin/busybox poweroff -f
