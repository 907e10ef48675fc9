variable "region" {
  type = string
}
variable "endpoint" {
  type = string
}
variable "instance_type" {
  type = string
}
variable "source_ami" {
  type = string
}
variable "root_device" {
  type = string
}
variable "volume_gb" {
  type = number
}
variable "kms_key" {
  type = string
}
variable "ssh_user" {
  type = string
}
variable "vpc" {
  type = string
}
variable "subnet" {
  type = string
}
variable "instance_profile" {
  type = string
}
variable "security_group" {
  type = string
}
variable "accounts" {
  type = list(string)
}
variable "image" {
  type = string
}
variable "image_digest" {
  type = string
}
variable "ami_name" {
  type = string
}
variable "bake_id" {
  type = string
}
variable "tunnels" {
  type = list(string)
}

locals {
  tags = {
    "runbake.bake"         = var.bake_id
    "runbake.image.digest" = var.image_digest
  }
}
