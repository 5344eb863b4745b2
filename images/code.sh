#!/bin/sh
# Builds our distributions that the arguments name and installs them into /opt/fulcrum, without network.
set -eu
cd /src
for distribution in "$@"; do
  (cd "$distribution" && /tools/bin/hatchling build -t wheel -d /wheels)
done
sh /images/packages.sh --offline /wheels/*.whl
