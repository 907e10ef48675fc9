variable "accelerator" {
  type = string
}
variable "cpu" {
  type = string
}
variable "cpus" {
  type = number
}
variable "memory_mb" {
  type = number
}
variable "format" {
  type = string
}
variable "volume_gb" {
  type = number
}
variable "source_sha256" {
  type = string
}
variable "ssh_user" {
  type = string
}
variable "image" {
  type = string
}
variable "tunnels" {
  type = list(string)
}
