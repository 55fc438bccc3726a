//! A Node object as the scheduler world sees it.

use std::borrow::Cow;

use pintle_plugin_bindings::common::types::Pair;
use pintle_plugin_bindings::scheduler::pintle::scheduler::types::{Effect, Image, Node, Taint};
use serde::Deserialize;

use super::amounts::Quantities;
use super::pairs::Pairs;

/// The id is the caller's to give.
pub fn parse(json: &[u8], id: u32) -> Result<Node, serde_json::Error> {
    let Outline { metadata, spec, status } = serde_json::from_slice(json)?;
    let max_pods = status.allocatable.0.iter().find(|(name, _)| name == "pods").map_or(0, |(_, q)| q.value());
    Ok(Node {
        id,
        name: metadata.name.into_owned(),
        labels: metadata.labels.0,
        annotations: relevant(metadata.annotations),
        taints: spec.taints.unwrap_or_default().into_iter().map(Taint::from).collect(),
        unschedulable: spec.unschedulable.unwrap_or_default(),
        allocatable: status.allocatable.amounts(),
        max_pods: u32::try_from(max_pods).unwrap_or_default(),
        images: status.images.unwrap_or_default().into_iter().map(Image::from).collect(),
    })
}

/// Without what the kubelet and clients write there for themselves and often.
fn relevant(annotations: Pairs) -> Vec<Pair> {
    let noise = |key: &str| key == "kubectl.kubernetes.io/last-applied-configuration" || key.ends_with("heartbeat");
    annotations.0.into_iter().filter(|p| !noise(&p.key)).collect()
}

#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    labels: Pairs,
    #[serde(default)]
    annotations: Pairs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow)]
    taints: Option<Vec<RawTaint<'a>>>,
    unschedulable: Option<bool>,
}

#[derive(Deserialize)]
struct RawTaint<'a> {
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    effect: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    allocatable: Quantities<'a>,
    images: Option<Vec<RawImage>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawImage {
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    size_bytes: u64,
}

impl From<RawTaint<'_>> for Taint {
    fn from(taint: RawTaint<'_>) -> Self {
        let effect = effect(&taint.effect).unwrap_or(Effect::NoSchedule);
        Self { key: taint.key.into_owned(), value: taint.value.unwrap_or_default().into_owned(), effect }
    }
}

impl From<RawImage> for Image {
    fn from(image: RawImage) -> Self {
        Self { names: image.names.unwrap_or_default(), size_bytes: image.size_bytes }
    }
}

pub fn effect(text: &str) -> Option<Effect> {
    match text {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}
