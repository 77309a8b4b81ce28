# What an unprivileged container may not do, whatever capabilities it is given:
# what masked and read-only paths hide, once more in the kernel. The default
# behind the process wall on hosts with AppArmor.

profile hako-default flags=(attach_disconnected,mediate_deleted) {
  # Everything is allowed that is not denied below: the capabilities, the
  # seccomp profile and the device cgroup confine the rest.
  capability,
  file,
  network,
  umount,

  # The engine may signal a container, and its processes each other.
  signal (receive) peer=unconfined,
  signal (send,receive) peer=hako-default,
  # Only processes of the same confinement may be traced.
  ptrace (read,trace,readby,tracedby) peer=hako-default,

  # No mount, not even with the capability for it.
  deny mount,

  # Settings of the whole kernel. What has a namespace (kernel.shm*, kernel.msg*,
  # kernel.sem, fs.mqueue, net) is left to the read-only mount of /proc/sys.
  deny /proc/sys/{abi,debug,dev,sunrpc,user,vm}/** wkl,
  deny /proc/sys/fs/[^m]** wkl,
  deny /proc/sys/kernel/[^ms]** wkl,
  deny /proc/sys/kernel/modprobe wkl,
  deny /proc/sys/kernel/modules_disabled wkl,
  deny /proc/sys/kernel/s[^eh]** wkl,

  # The machine.
  deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,
  deny /proc/{acpi,bus,irq,scsi}/** wkl,
  deny /sys/{block,bus,class,dev,devices,hypervisor,kernel,module,power}/** wkl,
  deny /sys/fs/[^c]** wkl,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
