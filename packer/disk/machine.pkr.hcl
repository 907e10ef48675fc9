# The machine image as a disk of this machine's: for every version of Packer from 1.6 on. Variables are digests, numbers
# and enumerated values only; files lie beside it under names of ours, as Packer evaluates {{ }} in paths as well.

packer {
  required_version = ">= 1.6.0"
}

source "qemu" "machine" {
  # tcg computes, kvm does not on every machine that has /dev/kvm: runbake has looked.
  accelerator = var.accelerator
  cpus        = var.cpus
  memory      = var.memory_mb
  headless    = true

  # source.img is a link; the disk is a copy of it.
  disk_image       = true
  iso_url          = "source.img"
  iso_checksum     = "sha256:${var.source_sha256}"
  format           = var.format
  disk_size        = "${var.volume_gb}G"
  disk_interface   = "virtio"
  net_device       = "virtio-net"
  output_directory = "out"
  vm_name          = "disk"
  boot_wait        = "1s"

  ssh_username         = var.ssh_user
  ssh_private_key_file = "key"
  ssh_timeout          = "20m"
  ssh_remote_tunnels   = var.tunnels

  # The bake's key goes last: whoever starts this disk brings a key of their own.
  shutdown_command = "sudo sh -c 'rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; systemctl poweroff'"
  shutdown_timeout = "10m"

  # A -drive here takes the place of Packer's own, so both are listed; the second tells cloud-init the key.
  qemuargs = [
    ["-cpu", var.cpu],
    ["-drive", "file=out/disk,if=virtio,cache=unsafe,discard=unmap,detect-zeroes=unmap,format=${var.format}"],
    ["-drive", "file.driver=vvfat,file.dir=seed,file.label=cidata,if=virtio,format=raw,readonly=on"],
    ["-device", "virtio-rng-pci"],
  ]
}

build {
  sources = ["source.qemu.machine"]

  # In memory: what is deleted from the disk could still be read from it.
  provisioner "shell" {
    inline = ["install -d -m 0700 /dev/shm/runbake"]
  }
  provisioner "file" {
    source      = "common/"
    destination = "/dev/shm/runbake"
  }
  provisioner "shell" {
    script           = "common/provision.sh"
    environment_vars = ["IMAGE=${var.image}"]
    execute_command  = "sudo env {{ .Vars }} bash '{{ .Path }}'"
  }
  post-processor "manifest" {
    output = "manifest.json"
  }
}
