#!@busybox@/bin/sh
# The boot loader installer of a system without a boot loader.
echo "This system is configured without a boot loader." >&2
