//! What the server serves, by aggregated discovery, and the search for a resource by any of its names.

use std::borrow::Cow;

use anyhow::{Result, bail};
use http::{HeaderMap, HeaderValue, Method};
use pintle_api::resource::SubresourceDef;
use pintle_api::{GroupVersion, GroupVersionKind, ResourceDef, Scope};
use serde_json::Value;

use super::session::{Session, read_body};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Every resource in every version; a group's preferred version comes first.
pub struct Discovery {
    pub resources: Vec<ResourceDef>,
}

impl Discovery {
    pub async fn load(session: &Session) -> Result<Self> {
        let mut resources = Vec::new();
        for path in ["/api", "/apis"] {
            let document = fetch(session, path).await?;
            for group in list(&document["items"]) {
                let name = text(&group["metadata"]["name"]);
                for version in list(&group["versions"]) {
                    let of = GroupVersion::new(name.clone(), text(&version["version"]));
                    resources.extend(list(&version["resources"]).iter().map(|r| definition(&of, r)));
                }
            }
        }
        Ok(Self { resources })
    }

    /// One resource by plural, singular, kind or short name, perhaps with its group (`deployments.apps`) or
    /// version and group (`deployments.v1.apps`).
    pub fn find(&self, words: &str) -> Result<&ResourceDef> {
        let lower = words.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let fits = |def: &&ResourceDef| {
            let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
            rest.is_empty() || def.group == rest || (def.version == version && def.group == group)
        };
        let by_name = |matches: &dyn Fn(&ResourceDef) -> bool| self.resources.iter().filter(fits).find(|def| matches(def));
        by_name(&|d| d.resource == name)
            .or_else(|| by_name(&|d| d.singular == name || d.kind.to_lowercase() == name))
            .or_else(|| by_name(&|d| d.short_names.iter().any(|s| s == name)))
            .ok_or_else(|| anyhow::anyhow!("the server doesn't have a resource type {words:?}"))
    }

    /// The resource that serves objects of a manifest.
    pub fn for_object(&self, object: &Value) -> Result<&ResourceDef> {
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        if kind.is_empty() {
            bail!("Object 'Kind' is missing in '{object}'");
        }
        if api_version.is_empty() {
            bail!("Object 'apiVersion' is missing in '{object}'");
        }
        let of = GroupVersion::parse(&api_version);
        let found = self.resources.iter().find(|d| d.kind == kind.as_str() && d.group == of.group && d.version == of.version);
        found.ok_or_else(|| anyhow::anyhow!("no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first"))
    }

    /// Resources of a category like `all`, each in its preferred version.
    pub fn category(&self, name: &str) -> Vec<&ResourceDef> {
        let mut found: Vec<&ResourceDef> = Vec::new();
        for def in self.resources.iter().filter(|d| d.categories.iter().any(|c| c == name)) {
            if !found.iter().any(|f| f.group == def.group && f.resource == def.resource) {
                found.push(def);
            }
        }
        found
    }
}

async fn fetch(session: &Session, path: &str) -> Result<Value> {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ACCEPT, HeaderValue::from_static(AGGREGATED));
    let response = session.client.request(Method::GET, path, headers, Vec::new()).await;
    let response = match response {
        Ok(response) => response,
        // Said in the same words as for any other request.
        Err(_) => return session.get(path).await,
    };
    if !response.status().is_success() {
        return session.get(path).await;
    }
    let document: Value = serde_json::from_slice(&read_body(response.into_body()).await?)?;
    if document["kind"] != "APIGroupDiscoveryList" {
        bail!("the server has no aggregated discovery");
    }
    Ok(document)
}

fn definition(of: &GroupVersion, resource: &Value) -> ResourceDef {
    let plural = text(&resource["resource"]);
    let singular = text(&resource["singularResource"]);
    ResourceDef {
        group: of.group.clone(),
        version: of.version.clone(),
        singular: if singular.is_empty() { plural.clone() } else { singular }.into(),
        resource: plural.into(),
        kind: text(&resource["responseKind"]["kind"]).into(),
        scope: if resource["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        short_names: words(&resource["shortNames"]),
        categories: words(&resource["categories"]),
        verbs: words(&resource["verbs"]),
        subresources: list(&resource["subresources"]).iter().map(subresource).collect(),
    }
}

fn subresource(value: &Value) -> SubresourceDef {
    let kind = &value["responseKind"];
    let gvk = GroupVersionKind::new(text(&kind["group"]), text(&kind["version"]), text(&kind["kind"]));
    SubresourceDef { name: text(&value["subresource"]).into(), kind: Some(gvk), verbs: words(&value["verbs"]) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words(value: &Value) -> Cow<'static, [Cow<'static, str>]> {
    list(value).iter().map(|w| Cow::Owned(text(w))).collect()
}
