#!/bin/busybox sh
# The guest's whole user land, on its disk: proves that the disk arrived, and switches the machine off.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t sysfs sys /sys
exec >/dev/console 2>&1 </dev/console

fail() {
    echo "VMDISK-DEMO FAILED: $1"
    /bin/busybox poweroff -f
}

# A VM writes to its disk: a claim that can only be read is of no use to it.
echo booted >/var/booted || fail "the disk cannot be written"
/bin/busybox sync

read -r nonce </etc/nonce || fail "/etc/nonce is not on the disk"
sum=$(/bin/busybox sha256sum /var/payload) || fail "/var/payload cannot be read"
read -r sectors </sys/block/vda/size || fail "the disk's size is not known"
echo "VMDISK-DEMO $nonce disk=$((sectors * 512)) payload=sha256:${sum%% *}"

/bin/busybox mount -o remount,ro /
/bin/busybox poweroff -f
