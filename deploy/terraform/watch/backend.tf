# The state is in a bucket of its own, which deploy/setup.sh makes and names here.
# Infrastructure Manager keeps the state itself and takes no backend: .gcloudignore.
terraform {
  backend "gcs" {}
}
