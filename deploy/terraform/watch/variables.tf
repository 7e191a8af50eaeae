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

variable "functions" {
  description = "Functions that are deployed. Without compact_features a missed run raises no alert."
  type        = set(string)
}

variable "use_cases" {
  description = "Use cases that are trained, evaluated and predicted on schedule."
  type        = set(string)
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
  description = "Alert if an evaluated week's ROC AUC is below this."
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
  description = "Alert if a run bills more bytes than this."
  type        = number
}

variable "alert_day_bytes" {
  description = "Alert if all the project's queries of a day bill more bytes than this."
  type        = number
}

variable "alert_lag_s" {
  description = "Alert if a subscription's oldest message waits for more seconds than this."
  type        = number
}
