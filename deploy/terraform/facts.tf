# What the code knows, as deploy/render.py writes it, and what follows for this
# deployment.
locals {
  plain_tables = jsondecode(file("${path.module}/generated/tables.json"))
  views        = jsondecode(file("${path.module}/generated/views.json"))
  messages     = jsondecode(file("${path.module}/generated/topics.json"))
  known        = jsondecode(file("${path.module}/generated/functions.json"))
  operator     = jsondecode(file("${path.module}/generated/operator.json"))
  roles        = jsondecode(file("${path.module}/roles.json"))
  use_cases    = jsondecode(file("${path.module}/generated/use_cases.json"))

  # Functions that have accounts and rights; and with these the job that runs commands for
  # operators in the image of the training.
  functions = { for name, one in local.known : name => one if contains(var.functions, name) && !var.keep_only_data }
  parts     = merge(local.functions, { for name, one in { operator = local.operator } : name => one if contains(keys(local.functions), "model_training") })
  # Functions that can be called: Cloud Run has them.
  services = { for name, url in var.services : name => url if contains(keys(local.functions), name) }

  names   = { for name in concat(keys(local.known), ["operator"]) : name => "${var.prefix}-${replace(name, "_", "-")}" }
  labels  = { deployment = var.prefix }
  dataset = var.dataset != "" ? var.dataset : var.prefix
  topics  = { for name in local.messages.topics : name => "${var.prefix}-${name}" }

  accounts = "${var.project}.iam.gserviceaccount.com"
  # The bucket that gcloud uploads to, of which it writes one word backwards.
  uploads = "run-sources-${replace(var.project, "google", "elgoog")}-"

  # The GA4 exports: project, dataset, and whether someone else owns it, by suffix.
  exports = {
    for suffix, name in var.exports : suffix => {
      name       = name
      is_foreign = length(split(".", name)) > 1
      dataset    = reverse(split(".", name))[0]
      project    = length(split(".", name)) > 1 ? trimsuffix(name, ".${reverse(split(".", name))[0]}") : var.project
    }
  }
  # The deployment's own export has the plain names, and its tables are always there.
  suffixes = setunion([""], keys(var.exports))
  # Each table by its name, and those that are there for each export by each of theirs.
  tables = merge(local.plain_tables, merge([
    for suffix in local.suffixes : { for name, one in local.plain_tables : "${name}${suffix}" => one if contains(local.views.by_export, name) }
  ]...))

  # Tables of the user's own that use cases read, each with its project, dataset and
  # name, and with the functions that read it: sources those that compute features,
  # events those that would read the export.
  sources = merge(flatten([
    for kind in ["sources", "events"] : [
      for table in toset(flatten([for name in var.use_cases : try(local.use_cases[name][kind], [])])) : {
        for name, one in local.parts : "${name} ${table}" => {
          function = name
          table    = table
          parts    = reverse(split(".", table))
          project  = length(split(".", table)) > 2 ? join(".", slice(split(".", table), 0, length(split(".", table)) - 2)) : var.project
          member   = "serviceAccount:${local.names[name]}@${local.accounts}"
        } if one["reads_${kind}"]
      }
    ]
  ])...)

  # Secrets that destinations of audiences name, and the address of a chat. Who sends
  # nothing keeps their values, and no function may read those of destinations.
  webhooks = var.message_secret != "" ? [var.message_secret] : []
  named    = flatten([for name in var.use_cases : try(local.use_cases[name].secrets, [])])
  secrets  = toset(concat(local.named, local.webhooks))
  # Whether a destination of an audience is at Google.
  sends_to_google = anytrue([for name in var.use_cases : try(local.use_cases[name].sends_to_google, false)])

  # Every right of every part, by a name that says what it is. An import knows a
  # part of the accounts and roles alone, and needs the names only.
  rights = merge(flatten([
    for name, one in local.parts : [
      for suffix in local.suffixes : {
        for right in one.rights : join(" ", compact([
          name, right.verb, right.on, "${right.name}${suffix}", "${right.prefix}${right.suffix == "" ? "" : "*"}${right.suffix}",
          right.on == "project" || right.on == "table" ? basename(right.role) : "",
          ])) => merge(right, {
          function = name
          name     = "${right.name}${suffix}"
          export   = suffix
          member   = try("serviceAccount:${google_service_account.function[name].email}", "")
          role     = startswith(right.role, "roles/") ? right.role : try(google_project_iam_custom_role.own[right.role].id, "")
        }) if suffix == "" || right.on == "export" || contains(local.views.by_export, right.name)
      }
    ]
  ])...)
}

# What the folder had when it was deployed last, so that a plan shows what it has no more:
# the folder may be on another machine then, or another version of it.
resource "terraform_data" "deployed" {
  for_each = var.keep_only_data ? {} : { folder = "folder" }
  input    = var.deployed
}

# What no variable can be checked for alone.
resource "terraform_data" "settings" {
  input = var.prefix

  lifecycle {
    precondition {
      condition     = length(local.elsewhere) == 0
      error_message = "The export ${join(" and ", local.elsewhere)}, and the dataset would be in ${var.location}: no query reads both. Set PROPENSITY_LOCATION to where the export is, with a new dataset where there is one already; exports of two locations need two deployments."
    }
  }
}
