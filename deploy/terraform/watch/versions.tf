# Terraform or OpenTofu.
terraform {
  required_version = ">= 1.5.0"
  # The state is in a bucket of its own, which deploy/setup.sh makes and names here.
  backend "gcs" {}
  required_providers {
    # Older ones remove authorized views of a dataset when they let in a reader.
    google = {
      source  = "hashicorp/google"
      version = ">= 6.39, < 8"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
