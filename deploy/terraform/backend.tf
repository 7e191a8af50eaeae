# The state is in a bucket of its own, which deploy/setup.sh makes and names here.
terraform {
  backend "gcs" {}
}
