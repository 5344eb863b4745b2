#!/bin/sh
# Moves the packages that the arguments name out of /opt/fulcrum to the same place under /apart, from
# where they become a layer of their own. Packages that are not installed are passed over.
set -eu
cd /opt/fulcrum/lib/python3*/site-packages
mkdir -p "/apart$PWD"
for package in "$@"; do
  if [ -d "$package" ]; then mv "$package" "/apart$PWD/"; fi
done
