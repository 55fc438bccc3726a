//! Quotas, disruption budgets and priority classes.

use anyhow::{Result, bail};
use pintle_api::selector::LabelSelector;
use serde_json::{Value, json};

use super::{pair, plain};

#[derive(clap::Args, Debug)]
pub struct Quota {
    name: String,
    /// RESOURCE=AMOUNT,...
    #[arg(long, value_delimiter = ',')]
    hard: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
}

#[derive(clap::Args, Debug)]
pub struct Budget {
    name: String,
    #[arg(long)]
    selector: String,
    #[arg(long)]
    min_available: Option<String>,
    #[arg(long)]
    max_unavailable: Option<String>,
}

#[derive(clap::Args, Debug)]
pub struct Priority {
    name: String,
    #[arg(long, allow_negative_numbers = true, default_value_t = 0)]
    value: i32,
    #[arg(long)]
    global_default: bool,
    #[arg(long)]
    description: Option<String>,
    #[arg(long, default_value = "PreemptLowerPriority")]
    preemption_policy: String,
}

impl Quota {
    pub fn object(&self) -> Result<Value> {
        let mut object = plain("v1", "ResourceQuota", &self.name);
        object["spec"] = json!({});
        for hard in &self.hard {
            let (resource, amount) = pair(hard)?;
            object["spec"]["hard"][resource] = amount.into();
        }
        if !self.scopes.is_empty() {
            object["spec"]["scopes"] = json!(self.scopes);
        }
        Ok(object)
    }
}

impl Budget {
    pub fn object(&self) -> Result<Value> {
        LabelSelector::parse(&self.selector)?;
        let mut object = plain("policy/v1", "PodDisruptionBudget", &self.name);
        let mut labels = json!({});
        for term in self.selector.split(',') {
            let (key, value) = pair(&term.replace("==", "="))?;
            labels[key] = value.into();
        }
        object["spec"]["selector"] = json!({"matchLabels": labels});
        let amount = |text: &String| text.parse::<i64>().map_or_else(|_| Value::from(text.clone()), Value::from);
        match (&self.min_available, &self.max_unavailable) {
            (Some(min), None) => object["spec"]["minAvailable"] = amount(min),
            (None, Some(max)) => object["spec"]["maxUnavailable"] = amount(max),
            _ => bail!("one of min-available or max-unavailable must be specified"),
        }
        Ok(object)
    }
}

impl Priority {
    pub fn object(&self) -> Value {
        let mut object = plain("scheduling.k8s.io/v1", "PriorityClass", &self.name);
        object["value"] = self.value.into();
        object["preemptionPolicy"] = self.preemption_policy.clone().into();
        if self.global_default {
            object["globalDefault"] = true.into();
        }
        if let Some(description) = &self.description {
            object["description"] = description.clone().into();
        }
        object
    }
}
