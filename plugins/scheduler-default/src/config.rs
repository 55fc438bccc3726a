//! `spec.config` of the Plugin: weights of the scores and how full nodes are judged, as JSON.
//!
//! ```json
//! {"weights": {"NodeResourcesFit": 5}, "scoringStrategy": "MostAllocated"}
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

/// What nodes are scored by, in upstream's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    TaintToleration,
    NodeAffinity,
    PodTopologySpread,
    InterPodAffinity,
    NodeResourcesFit,
    NodeResourcesBalancedAllocation,
    ImageLocality,
}

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
    /// In the order of [`Criterion::ALL`].
    weights: [i64; 7],
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
        Self { weights: Criterion::ALL.map(Criterion::default_weight), strategy: Strategy::default() }
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
            let known = || Criterion::ALL.map(Criterion::name).join(", ");
            let place = Criterion::ALL
                .iter()
                .position(|c| c.name() == name)
                .ok_or_else(|| format!("config: weights.{name}: no such score; there are {}", known()))?;
            if !(0..=MAX_WEIGHT).contains(&weight) {
                return Err(format!("config: weights.{name}: must be between 0 and {MAX_WEIGHT}"));
            }
            parsed.weights[place] = weight;
        }
        Ok(parsed)
    }

    pub fn weight(&self, criterion: Criterion) -> i64 {
        self.weights[criterion as usize]
    }
}

impl Criterion {
    pub const ALL: [Self; 7] = [
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::PodTopologySpread,
        Self::InterPodAffinity,
        Self::NodeResourcesFit,
        Self::NodeResourcesBalancedAllocation,
        Self::ImageLocality,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::PodTopologySpread => "PodTopologySpread",
            Self::InterPodAffinity => "InterPodAffinity",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::NodeResourcesBalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::ImageLocality => "ImageLocality",
        }
    }

    /// Upstream's.
    fn default_weight(self) -> i64 {
        match self {
            Self::TaintToleration => 3,
            Self::NodeAffinity | Self::PodTopologySpread | Self::InterPodAffinity => 2,
            Self::NodeResourcesFit | Self::NodeResourcesBalancedAllocation | Self::ImageLocality => 1,
        }
    }
}
