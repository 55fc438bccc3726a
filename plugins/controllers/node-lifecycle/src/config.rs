//! `spec.config` of the Plugin: the periods, as JSON. What is left out keeps its default; an unknown word is refused.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Without a sign of life for so long, a node's conditions become Unknown.
    pub grace_seconds: i64,
    /// The same for a node that has never reported.
    pub startup_grace_seconds: i64,
    /// Pods of a node that is gone are deleted after so long.
    pub orphan_seconds: i64,
    /// Nodes of a zone that may be emptied in a second.
    pub eviction_rate: f64,
    /// The same in a large zone that is mostly unhealthy.
    pub secondary_eviction_rate: f64,
    /// The share of unhealthy nodes that makes a zone mostly unhealthy.
    pub unhealthy_threshold: f64,
    /// A mostly unhealthy zone of at most so many nodes is not emptied at all.
    pub large_zone: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace_seconds: 40,
            startup_grace_seconds: 60,
            orphan_seconds: 40,
            eviction_rate: 0.1,
            secondary_eviction_rate: 0.01,
            unhealthy_threshold: 0.55,
            large_zone: 50,
        }
    }
}

impl Config {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        let value: Value = serde_json::from_str(text).map_err(|e| format!("config is no JSON: {e}"))?;
        let fields = value.as_object().ok_or("config must be an object")?;
        for (name, value) in fields {
            let number = value.as_f64().filter(|n| *n >= 0.0).ok_or_else(|| format!("config: {name} must be a number that is not negative"))?;
            match name.as_str() {
                "nodeMonitorGracePeriodSeconds" => config.grace_seconds = number as i64,
                "nodeStartupGracePeriodSeconds" => config.startup_grace_seconds = number as i64,
                "orphanedPodsAfterSeconds" => config.orphan_seconds = number as i64,
                "nodeEvictionRate" => config.eviction_rate = number,
                "secondaryNodeEvictionRate" => config.secondary_eviction_rate = number,
                "unhealthyZoneThreshold" => config.unhealthy_threshold = number,
                "largeClusterSizeThreshold" => config.large_zone = number as usize,
                _ => return Err(format!("config: unknown field {name:?}")),
            }
        }
        Ok(config)
    }
}
