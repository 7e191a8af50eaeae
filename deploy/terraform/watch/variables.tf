# deploy/setup.sh writes the values, from the settings file: python -m deploy variables.

variable "project" {
  description = "Project in which everything is."
  type        = string
}

variable "region" {
  description = "Where functions are."
  type        = string
}

variable "prefix" {
  description = "What everything is called by."
  type        = string
  default     = "propensity"
}

variable "alert_email" {
  description = "Address that gets the alerts. If it is empty, alerts only show in the console."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(|[^@\\s]+@[^@\\s,]+)$", var.alert_email))
    error_message = "One address."
  }
}

variable "alert_channels" {
  description = "Notification channels that get the alerts, too, by name: Slack, PagerDuty and others."
  type        = set(string)
  default     = []
}

variable "billing_account" {
  description = "Billing account that gets a budget for the project; empty without one."
  type        = string
  default     = ""
}

variable "budget" {
  description = "What the project may cost a month, in the currency of the billing account."
  type        = number
  default     = 100
}
