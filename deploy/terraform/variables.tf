# deploy/setup.sh writes the values, from the settings file, which deploy/configuration.py
# has checked: python -m deploy variables.

# -- where, and what it is called ------------------------------------------------------

variable "project" {
  description = "Project in which everything is."
  type        = string
}

variable "region" {
  description = "Where functions, schedules, images and the log bucket are."
  type        = string
}

variable "location" {
  description = "Where dataset and bucket are: US, EU, or a region. The GA4 export is there, too."
  type        = string
}

variable "prefix" {
  description = "What everything is called by. A second deployment in a project has another one."
  type        = string
}

variable "dataset" {
  description = "Dataset of the tables; the prefix where it is empty."
  type        = string
}

variable "bucket" {
  description = "Bucket of models, leases and exports. Its name must be unique on Google Cloud."
  type        = string
}

# -- functions and use cases ------------------------------------------------------------------

variable "functions" {
  description = "Functions that are deployed. One that is removed here loses account, rights and schedules."
  type        = set(string)
}

variable "use_cases" {
  description = "Use cases that are trained, evaluated and predicted on schedule."
  type        = set(string)
}

variable "services" {
  description = "Address of each function that Cloud Run has, by its name here. Only these can be called and pushed to: a first setup has none."
  type        = map(string)
  default     = {}
}

variable "exports" {
  description = "Dataset of each GA4 export, or project.dataset where another project holds it, by what the names of its view and tables end with."
  type        = map(string)
}

variable "require_consent" {
  description = "Which consent an event of the export needs to be read."
  type        = string
}

variable "retention_days" {
  description = "Days that rows of a table are kept, by table, where it is not what the table says; 0 for ever."
  type        = map(number)
}

# -- who may -------------------------------------------------------------------------------

variable "callers" {
  description = "Who may call get_proba and score."
  type        = set(string)
}

variable "producers" {
  description = "Who may publish events."
  type        = set(string)
}

variable "message_secret" {
  description = "Secret in Secret Manager with the address of the chat that gets the weekly message, without the prefix; empty for no message."
  type        = string
}

variable "sends" {
  description = "Whether audiences are sent to receivers; without that no function may read their secrets."
  type        = bool
}

variable "suppression_secret" {
  description = "Secret in Secret Manager with the key of the list of suppressed users; empty without a list."
  type        = string
}

# -- options -------------------------------------------------------------------------------

variable "kms_key" {
  description = "Key in Cloud KMS of dataset, bucket and topics; Google's where it is empty."
  type        = string
}

variable "functions_kms_key" {
  description = "Key in Cloud KMS of functions, their images, log lines and secrets; Google's where it is empty."
  type        = string
}

variable "repository" {
  description = "Repository of the functions' images in Artifact Registry; called as the prefix where it is empty. By its whole name, REGION-docker.pkg.dev/PROJECT/NAME, it is one that there is."
  type        = string
}

variable "vpc_connector" {
  description = "Serverless VPC Access connector that functions send through; empty without one."
  type        = string
}

variable "log_days" {
  description = "Days that the lines which functions write are kept."
  type        = number
}

variable "time_travel_hours" {
  description = "Hours that BigQuery can restore deleted rows: 48 to 168, in whole days."
  type        = number
}

# -- off again ---------------------------------------------------------------------------

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

# -- alerts --------------------------------------------------------------------------------

variable "alert_email" {
  description = "Address that gets the alerts. If it is empty, alerts only show in the console."
  type        = string
}

variable "alert_channels" {
  description = "Notification channels that get the alerts, too, by name: Slack, PagerDuty and others."
  type        = set(string)
}

variable "billing_account" {
  description = "Billing account that gets a budget for the project; empty without one."
  type        = string
}

variable "budget" {
  description = "What the project may cost a month, in the currency of the billing account."
  type        = number
}

# -- what was deployed ---------------------------------------------------------------------

variable "deployed" {
  description = "What the deployment's folder has: settings, use cases, audiences, destinations, and its commit."
  type        = any
  default     = {}
}
