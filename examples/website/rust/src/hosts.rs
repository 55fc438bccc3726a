//! Which Website has which host: entries of one ConfigMap. A write that another one has overtaken is a conflict, and the key comes again.

use pintle_sdk::controller::{Api, ApiError, EventType, Failure, Resource};
use serde_json::{Map, Value, json};

use crate::{Site, WEBSITES};

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps");
const NAMESPACE: &str = "default";
const NAME: &str = "website-hosts";

/// Who has the site's host, after this call: the site itself where it was free. Hosts that the site had before are given back.
pub fn claim(api: &dyn Api, site: &Site) -> Result<String, Failure> {
    let claims = read(api)?;
    let holder = claims.as_ref().and_then(|c| c["data"][site.host()].as_str()).map(str::to_owned);
    match holder {
        Some(other) if other != site.id() => return Ok(other),
        Some(_) => {}
        None => {
            match claims {
                Some(mut claims) => {
                    claims["data"][site.host()] = json!(site.id());
                    api.update(CONFIG_MAPS, NAMESPACE, NAME, &claims)?;
                }
                None => {
                    let metadata = json!({"namespace": NAMESPACE, "name": NAME});
                    let claims = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {site.host(): site.id()}});
                    api.create(CONFIG_MAPS, NAMESPACE, &claims)?;
                }
            }
            let message = format!("{} is this Website's", site.host());
            api.event(WEBSITES, site.namespace(), site.name(), EventType::Normal, "HostClaimed", &message);
        }
    }
    release(api, site, Some(site.host()))?;
    Ok(site.id())
}

/// Gives all the site's hosts back but one.
pub fn release(api: &dyn Api, site: &Site, kept: Option<&str>) -> Result<(), Failure> {
    let Some(mut claims) = read(api)? else { return Ok(()) };
    let Some(data) = claims["data"].as_object() else { return Ok(()) };
    let left: Map<String, Value> =
        data.iter().filter(|(host, holder)| **holder != site.id() || kept == Some(host.as_str())).map(|(h, s)| (h.clone(), s.clone())).collect();
    if left.len() < data.len() {
        claims["data"] = Value::Object(left);
        api.update(CONFIG_MAPS, NAMESPACE, NAME, &claims)?;
    }
    Ok(())
}

/// Past the caches: it is not watched, and a stale claim would be given twice.
fn read(api: &dyn Api) -> Result<Option<Value>, Failure> {
    match api.get_live(CONFIG_MAPS, NAMESPACE, NAME) {
        Ok(claims) => Ok(Some(claims)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
