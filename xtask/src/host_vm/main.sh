#!/hako-vm/busybox sh
# PID 1 of the outer machine: an ordinary host as users have it (pure cgroup2
# with every controller, AppArmor, KVM), then the tests, their output on a
# virtio port, and the marker that ends the run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:@PATH@
export HOME=/root@ENV@
# This host is emulated: a guest that boots under its KVM needs patience.
export HAKO_KVM_DEADLINE=60

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
hostname hako-host

# /tmp is a real filesystem: an engine's data root may lie there. What the tests
# need of the host's own /tmp comes back by bind mounts.
mkdir -p /hako-vm/host-tmp
mount --bind /tmp /hako-vm/host-tmp
mount --bind /hako-vm/disk/tmp /tmp
chmod 1777 /tmp
for dir in @DIRS@; do
    case "$dir" in /tmp/*)
        mkdir -p "$dir"
        mount --bind "/hako-vm/host-tmp${dir#/tmp}" "$dir"
        ;;
    esac
done

for port in /sys/class/virtio-ports/*; do
    case "$(cat "$port/name")" in
    hako.result) result="/dev/${port##*/}" ;;
    hako.beats) beats="/dev/${port##*/}" ;;
    esac
done
if [ -z "$result" ]; then
    echo "no port for the results"
    poweroff -f
fi

# That the machine lives, and twice a minute what it does: who runs, and what
# those that wait, wait for.
beat() {
    n=0
    while sleep 5; do
        echo "up $(cat /proc/uptime), load $(cat /proc/loadavg)"
        n=$((n + 1))
        [ $((n % 6)) = 0 ] || continue
        for process in /proc/[0-9]*; do
            # A file of /proc has no size.
            [ -n "$(tr -d '\0' <"$process/cmdline")" ] || continue
            echo "${process#/proc/} $(cut -d' ' -f3 "$process/stat") $(cat "$process/wchan")" \
                "$(tr '\0' ' ' <"$process/cmdline" | cut -c1-120)"
        done
        tail -n 3 /tmp/hako-t*/hakod.log
    done 2>/dev/null
}
beat </dev/null >"$beats" &

exec </dev/null >"$result" 2>&1

echo "kernel $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
echo "cgroup2 $(cat /sys/fs/cgroup/cgroup.subtree_control)"
echo "security $(cat /sys/kernel/security/lsm), apparmor $(cat /sys/module/apparmor/parameters/enabled)"
ls -l /dev/kvm

status=0
@COMMANDS@
echo "@MARKER@ $status"
sync
poweroff -f
