#!@busybox@/bin/sh
set -e
@busybox@/bin/sh @program@ @grubConfig@ "$@"
