#!/bin/sh
# Makes the base image what runs: one user, no way to install anything, no program that raises rights.
# The result is copied into an empty image, so what is removed here is in no layer.
set -eu
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$library"/ensurepip "$library"/idlelib "$library"/lib2to3 "$library"/test "$library"/tkinter \
  "$library"/turtledemo "$library"/config-* "$library"/site-packages/* \
  /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/wheel /usr/local/include \
  /usr/share/python-wheels /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man \
  /usr/share/perl* /usr/lib/*/perl* /usr/bin/perl* /usr/bin/apt* /usr/lib/apt /etc/apt /var/lib/apt \
  /var/cache/* /var/log/* /root/.cache
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
python3 -m compileall -qq --invalidation-mode unchecked-hash "$library" || true
echo 'fulcrum:x:65532:' >> /etc/group
echo 'fulcrum:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
mkdir -p /scratch
chown 65532:65532 /scratch
