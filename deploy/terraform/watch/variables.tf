# deploy/setup.sh writes the values, from deploy/settings.env: python -m deploy variables.

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

variable "functions" {
  description = "Those that are deployed. Nobody notices a missed run without compact_features."
  type        = set(string)
}

variable "use_cases" {
  description = "Those that are trained, evaluated and predicted by the clock."
  type        = set(string)
}

variable "alert_email" {
  description = "Who is told; nobody where it is empty: then policies only show in the console."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(|[^@\\s]+@[^@\\s,]+)$", var.alert_email))
    error_message = "One address."
  }
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

variable "alert_roc_auc" {
  description = "ROC AUC of an evaluated week under which somebody is told."
  type        = number
  validation {
    condition     = var.alert_roc_auc >= 0 && var.alert_roc_auc <= 1
    error_message = "From 0 to 1."
  }
}

variable "alert_champion_days" {
  description = "Age of the live version, in days, beyond which a mail is sent."
  type        = number
}

variable "alert_run_bytes" {
  description = "Bytes billed by a run beyond which somebody is told."
  type        = number
}

variable "alert_day_bytes" {
  description = "Bytes billed by all queries of the project in a day beyond which somebody is told."
  type        = number
}

variable "alert_lag_s" {
  description = "Seconds that the oldest message of a subscription waits beyond which somebody is told."
  type        = number
}
