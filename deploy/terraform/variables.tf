# Beside these there is a variable for each setting, with its value: deploy/setup.sh writes
# settings.tf.json from the settings file, which deploy/configuration.py has checked.
# docs/settings.md says what each means.

variable "keep_only_data" {
  description = "Remove all but what holds data: dataset, bucket, secrets, topics with their waiting messages, log bucket."
  type        = bool
  default     = false
}

variable "delete_data" {
  description = "Let a destroy delete what holds data. Without it the destroy is refused."
  type        = bool
  default     = false
}
