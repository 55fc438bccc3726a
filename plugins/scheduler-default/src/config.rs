//! `spec.config` of the Plugin: weights of the scores and how full nodes are judged, as JSON.
//!
//! ```json
//! {"weights": {"NodeResourcesFit": 5}, "scoringStrategy": "MostAllocated"}
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

/// The names of the scores, and upstream's default weights.
pub const DEFAULT_WEIGHTS: &[(&str, i64)] = &[
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("NodeResourcesFit", 1),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
];
const MAX_WEIGHT: i64 = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Strategy {
    /// Spread the load.
    #[default]
    LeastAllocated,
    /// Fill nodes up.
    MostAllocated,
}

#[derive(Debug)]
pub struct Config {
    weights: Vec<i64>,
    pub strategy: Strategy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct Text {
    weights: BTreeMap<String, i64>,
    scoring_strategy: Strategy,
}

impl Default for Config {
    fn default() -> Self {
        Self { weights: DEFAULT_WEIGHTS.iter().map(|w| w.1).collect(), strategy: Strategy::default() }
    }
}

impl Config {
    pub fn parse(config: &str) -> Result<Self, String> {
        if config.trim().is_empty() {
            return Ok(Self::default());
        }
        let text: Text = serde_json::from_str(config).map_err(|e| format!("config: {e}"))?;
        let mut parsed = Self { strategy: text.scoring_strategy, ..Self::default() };
        for (name, weight) in text.weights {
            let known = || DEFAULT_WEIGHTS.iter().map(|w| w.0).collect::<Vec<_>>().join(", ");
            let place = DEFAULT_WEIGHTS.iter().position(|w| w.0 == name).ok_or_else(|| format!("config: weights.{name}: no such score; there are {}", known()))?;
            if !(0..=MAX_WEIGHT).contains(&weight) {
                return Err(format!("config: weights.{name}: must be between 0 and {MAX_WEIGHT}"));
            }
            parsed.weights[place] = weight;
        }
        Ok(parsed)
    }

    /// By place in [`DEFAULT_WEIGHTS`].
    pub fn weight(&self, score: usize) -> i64 {
        self.weights[score]
    }
}
