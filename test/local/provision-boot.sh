#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Boots systemd over a provisioned tree, in namespaces of its own, and lets /out/check.sh look at it. Needs root and a kernel that lets it mount.
#   provision-boot.sh TREE OUT FEATURE...
# The machine's own files lie below the tree in an overlay on a tmpfs, so nothing of it is written; /proc/sys is read only.
set -eu
if [ "${IN_NAMESPACE-}" != yes ]; then
  exec env IN_NAMESPACE=yes unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup "$0" "$@"
fi
tree=$1 out=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs "$out/mnt"
top=$out/mnt root=$out/mnt/root
mkdir "$top/up" "$top/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/up,workdir=$top/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

rm -rf "$root"/etc/systemd/system/* "$root/home/user"
for unit in systemd-sysctl.service systemd-udevd.service systemd-udev-trigger.service systemd-logind.service systemd-networkd.service getty.target \
  apt-daily.timer apt-daily-upgrade.timer; do ln -s /dev/null "$root/etc/systemd/system/$unit"; done
ln -s /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
sed -i '/^[^:]*:[^:]*:1000:/d; /^user:/d' "$root/etc/passwd"
sed -i '/^[^:]*:[^:]*:\(98\|1000\):/d; /^\(user\|qubes\):/d' "$root/etc/group"
echo 'user:x:1000:1000::/home/user:/bin/bash' >>"$root/etc/passwd"
printf 'user:x:1000:\nqubes:x:98:user\n' >>"$root/etc/group"
cp -a "$tree/." "$root/"
mkdir -p "$root/run/qubes-service" "$root/out"
for feature; do touch "$root/run/qubes-service/$feature"; done
mount --bind "$out" "$root/out"
cat >"$root/etc/systemd/system/boot-check.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /out/check.sh
ExecStopPost=/bin/systemctl exit 0
StandardOutput=file:/out/found
StandardError=file:/out/errors
TimeoutStartSec=60
UNIT
ln -s ../boot-check.service "$root/etc/systemd/system/multi-user.target.wants/boot-check.service"
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --system --log-target=console --log-level=warning --show-status=0
