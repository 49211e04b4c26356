#!/bin/sh
# Builds an image from Debian's packages with Debian's tools, without any part of this project.
# $1: which one, a file of images/; $2: the image; $3: the tree of its release as a tar, or a kernel with its modules
# ("VMLINUZ:MODULES") where the image has no Debian in it.
set -eu
here=$(dirname "$(readlink -f "$0")")
# An ordinary user unpacks a tree in a user namespace, where subordinate IDs stand for those of the tree.
[ "$(id -u)" = 0 ] || exec unshare --map-auto --map-root-user sh "$0" "$@"
name=$1
image=$2
source=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
boot=$work/boot
esp=$work/esp
mkdir "$root" "$boot" "$esp"
. "$here/disk.sh"
. "$here/loaders.sh"
. "$here/systems.sh"
. "$here/images/$name.sh"
