#!/bin/bash
# start.sh ROOT WORK TTY: becomes systemd as process 1 of namespaces of its own, over the directory ROOT, which stays as it
# is: what is written goes to WORK/upper. TTY is /dev/cable there, and systemd says on the socket WORK/host/notify that it is
# up. Everything in it ends with this process.
set -euo pipefail
work=$2
groups=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)/touchmark-$$
mkdir "$groups"
echo $$ >"$groups/cgroup.procs"
echo "$groups" >"$work/cgroup"
mkdir -p "$work"/{upper,over,root,host}
exec unshare --pid --mount --uts --ipc --cgroup --net --fork --kill-child bash -euc '
  work=$2 root=$2/root
  mount --make-rprivate /
  mount -t overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/over" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --bind "$root/proc/sys" "$root/proc/sys"
  mount -o remount,bind,ro "$root/proc/sys"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do mknod -m 666 "$root/dev/${node% *}" c 1 "${node#* }"; done
  mkdir "$root"/dev/{pts,shm}
  mount --bind /dev/pts "$root/dev/pts"
  mount -t tmpfs tmpfs "$root/dev/shm"
  ln -s "$3" "$root/dev/cable"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mkdir "$root/run/outside"
  mount --bind "$work/host" "$root/run/outside"
  mount -t tmpfs tmpfs "$root/tmp"
  exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin container=other NOTIFY_SOCKET=/run/outside/notify /lib/systemd/systemd
' start "$@"
