#!/bin/bash
# The first process of a host, in namespaces of its own: makes its file system and waits. With it everything ends.
#
#   host.sh NAME SCRATCH SHARED KEPT...
#
# What this machine has can be read, but for /tmp, /home and /mnt, of which there are the folders KEPT alone. What is
# written stays in memory, and the host's own, but below /mnt/shared.
set -eu
name=$1 scratch=$2 shared=$3
shift 3

mount -t tmpfs tmpfs "$scratch"
cover() { # what the host sees of this machine at $1
    local layers="$scratch/layers/${1//\//_}"
    mkdir -p "$layers/upper" "$layers/work" "$scratch/root$1"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$layers/upper,workdir=$layers/work" "$scratch/root$1"
}
cover /
cd "$scratch/root"
for folder in tmp home mnt run; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
for kept in "$@"; do cover "$kept"; done
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs dev/shm
mkdir -p run/sshd mnt/shared home/ray/.ssh
mount --bind "$shared" mnt/shared

hostname "$name"
cp "$shared"/hosts/etc_hosts etc/hosts
# The user of the image in cluster.yaml; for this machine it is root.
echo 'ray:x:0:0::/home/ray:/bin/bash' > etc/passwd.new
cat etc/passwd >> etc/passwd.new
mv etc/passwd.new etc/passwd
cp "$shared"/hosts/key.pub home/ray/.ssh/authorized_keys
cp "$shared"/hosts/bashrc home/ray/.bashrc

cat > run/wait.sh <<E2
/usr/sbin/sshd -f /dev/null -h /mnt/shared/hosts/key -o PidFile=none -o UsePAM=no -o StrictModes=no -o UseDNS=no -E /var/log/sshd.log
echo ready
# Ends when the tests do (their end of the pipe closes), or when the cloud takes the machine back.
while [ ! -e /mnt/shared/hosts/$name.off ]; do
    read -r -t 0.2 && status=0 || status=\$?
    [ "\$status" -gt 128 ] || exit 0
done
E2
exec chroot . /bin/bash /run/wait.sh
