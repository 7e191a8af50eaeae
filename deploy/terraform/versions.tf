# Terraform, OpenTofu, or Infrastructure Manager, whose newest Terraform is 1.5.7.
terraform {
  required_version = ">= 1.5.0"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.12, < 8"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
