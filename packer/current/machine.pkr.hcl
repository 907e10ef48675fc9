# The machine image for Packer 1.7 and later, not tried with any: as packer/legacy, with the plugin that is no longer
# built in, and IMDSv2 on the build machine.

packer {
  required_version = ">= 1.7.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2.0"
    }
  }
}

source "amazon-ebs" "machine" {
  region               = var.region
  custom_endpoint_ec2  = var.endpoint
  source_ami           = var.source_ami
  instance_type        = var.instance_type
  iam_instance_profile = var.instance_profile
  vpc_id               = var.vpc
  subnet_id            = var.subnet
  shutdown_behavior    = "terminate"

  # The group is ours, and tagged: Packer's own could not be found again after a kill.
  security_group_id         = var.security_group
  ssh_username              = var.ssh_user
  ssh_timeout               = "10m"
  ssh_clear_authorized_keys = true
  ssh_remote_tunnels        = var.tunnels
  temporary_key_pair_name   = "runbake-${var.bake_id}"

  imds_support = "v2.0"
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  # Encrypted from the start: no second copy, and none that was not.
  launch_block_device_mappings {
    device_name           = var.root_device
    volume_size           = var.volume_gb
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    kms_key_id            = var.kms_key
    delete_on_termination = true
  }

  ami_name        = var.ami_name
  ami_description = "runbake ${var.image_digest}"
  ami_users       = var.accounts
  snapshot_users  = var.accounts
  ena_support     = true

  run_tags        = local.tags
  run_volume_tags = local.tags
  tags            = local.tags
  snapshot_tags   = local.tags

  # An hour: large images take long, and Packer's own default gives up on them.
  aws_polling {
    delay_seconds = 15
    max_attempts  = 240
  }
}

build {
  sources = ["source.amazon-ebs.machine"]

  # In memory: what is deleted from the disk would still be in its snapshot.
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
    output     = "manifest.json"
    strip_path = true
  }
}
