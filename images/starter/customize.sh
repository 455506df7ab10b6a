#!/bin/sh
# Last step of the starter image, on the machine that builds it; $1 is the root folder of the image.
set -eu
# The container is the environment: `pip install` shall work in it as it does in the images of the registries.
rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED
ln -sf python3 "$1/usr/bin/python"
# Names and resolvers of the machine that built it have no place in an image; Docker mounts its own.
: >"$1/etc/hostname"
: >"$1/etc/resolv.conf"
