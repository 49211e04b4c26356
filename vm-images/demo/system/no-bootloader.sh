#!@busybox@/bin/sh
# What a system runs that is configured without a boot loader.
echo "This system is configured without a boot loader." >&2
