//! Addresses and node ports of Services: chosen or claimed before a write, given back after it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use pintle_api::object::ObjectExt;
use pintle_api::{Cause, CauseKind, GroupVersionResource, Status};
use serde_json::{Value, json};

use super::services::{is_type, needs_address, needs_health_port, needs_node_port, node_port, ports};
use super::services_validate::addresses;
use crate::allocator::{Allocators, ClaimError, NODE_PORT_FIRST, NODE_PORT_LAST};
use crate::context::WriteContext;
use crate::faults::Faults;
use crate::fields::{default_missing, same, spec_mut};

const SERVICES: GroupVersionResource = GroupVersionResource::constant("", "v1", "services");

/// Whether a new service can have what it asks for, told before the rest of it is looked at: what it says of its addresses must agree with itself.
pub fn claimable(new: &Value, context: &WriteContext<'_>) -> Result<(), Status> {
    let mut faults = Faults::default();
    addresses(new, &mut faults);
    if !faults.is_empty() {
        return Err(Status::invalid("", "Service", new.name(), faults.into_causes()));
    }
    allocate(&mut new.clone(), None, context, false)
}

pub fn before_commit(new: &mut Value, old: Option<&Value>, context: &WriteContext<'_>) -> Result<(), Status> {
    let claims = claims_of(new);
    let result = allocate(new, old, context, !context.dry_run);
    if result.is_err() && !context.dry_run {
        // What was picked before the failure goes back; what the stored service holds stays, also where a new one was refused for its name.
        let stored = stored(new, context);
        let keeper = old.or(stored.as_deref());
        claims_of(new).release_missing(keeper, context.allocators);
        claims.release_missing(keeper, context.allocators);
    }
    result
}

fn stored(service: &Value, context: &WriteContext<'_>) -> Option<std::sync::Arc<Value>> {
    context.objects.get(&SERVICES, Some(service.namespace()), service.name())
}

pub fn after_commit(new: Option<&Value>, old: Option<&Value>, context: &WriteContext<'_>) {
    if let Some(old) = old {
        let stored = if new.is_none() { stored(old, context) } else { None };
        claims_of(old).release_missing(new.or(stored.as_deref()), context.allocators);
    }
}

/// `claims`: or only looks whether all could be had.
fn allocate(service: &mut Value, old: Option<&Value>, context: &WriteContext<'_>, claims: bool) -> Result<(), Status> {
    let owner = owner(service);
    let old_claims = old.map(claims_of).unwrap_or_default();
    if needs_address(service) {
        choose_families(service, context)?;
        if service.str_at(&["spec", "clusterIP"]) != "None" {
            allocate_address(service, &owner, &old_claims, context, claims)?;
        }
    }
    let holder = if old.is_none() { stored(service, context).as_deref().map(claims_of) } else { None };
    let mut taking =
        Taking { owner, old: old.map(|_| old_claims.ports), others: holder.unwrap_or_default().ports, made: HashSet::new(), context, claims };
    if needs_node_port(service) {
        allocate_node_ports(service, &mut taking)?;
    }
    if needs_health_port(service) {
        let asked = service.i64_at(&["spec", "healthCheckNodePort"]).unwrap_or(0);
        let port = taking.claim_or_pick(asked).map_err(|fault| {
            let why = port_fault(fault);
            let mut status = Status::internal(match asked {
                0 => format!("failed to allocate a HealthCheck NodePort 0: {why}"),
                _ => format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"),
            });
            status.details_mut().causes.iter_mut().for_each(|cause| cause.reason = CauseKind::Unnamed);
            status
        })?;
        service.set_at(&["spec", "healthCheckNodePort"], port.into());
    }
    Ok(())
}

/// This cluster has one family of addresses, IPv4; a headless service without selector may still speak of both.
fn choose_families(service: &mut Value, _: &WriteContext<'_>) -> Result<(), Status> {
    let headless_without_selector =
        service.str_at(&["spec", "clusterIP"]) == "None" && service.map_at(&["spec", "selector"]).is_none_or(|s| s.is_empty());
    // Of so many addresses the client named the family.
    let named = service.list_at(&["spec", "ipFamilies"]).len();
    if let Some(spec) = spec_mut(service) {
        default_missing(spec, "ipFamilyPolicy", if headless_without_selector { "RequireDualStack" } else { "SingleStack" });
        if same(spec.get("ipFamilies"), None) {
            spec.insert("ipFamilies".to_owned(), json!(["IPv4"]));
        }
    }
    let policy = service.str_at(&["spec", "ipFamilyPolicy"]).to_owned();
    let families: Vec<String> = service.list_at(&["spec", "ipFamilies"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if headless_without_selector {
        if families.len() == 1 && policy != "SingleStack" {
            let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
            service.set_at(&["spec", "ipFamilies"], json!([families[0], other]));
        }
        return Ok(());
    }
    let refused = |causes: Vec<Cause>| if causes.is_empty() { Ok(()) } else { Err(Status::invalid("", "Service", service.name(), causes)) };
    let mut causes = Vec::new();
    if policy == "SingleStack" {
        let addresses = service.list_at(&["spec", "clusterIPs"]).len();
        for (several, of) in [(addresses > 1, "cluster IPs"), (families.len() > 1, "IP families")] {
            if several {
                let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {of} are specified");
                causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.as_str().into(), &detail));
            }
        }
    }
    let asked = service.list_at(&["spec", "clusterIPs"]);
    for (i, _) in asked.iter().enumerate().skip(named).filter(|(_, ip)| ip.as_str().is_some_and(|ip| ip.contains(':'))) {
        causes.push(Cause::invalid(format!("spec.clusterIPs[{i}]"), &json!(asked), "IPv6 is not configured on this cluster"));
    }
    // Whether the cluster has what is asked for is looked at when the wishes agree with each other.
    refused(std::mem::take(&mut causes))?;
    if policy == "RequireDualStack" {
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &policy.as_str().into(), "this cluster is not configured for dual-stack services"));
    }
    for (i, family) in families.iter().enumerate().filter(|(_, family)| *family != "IPv4") {
        causes.push(Cause::invalid(format!("spec.ipFamilies[{i}]"), &family.as_str().into(), "not configured on this cluster"));
    }
    refused(causes)
}

fn allocate_address(service: &mut Value, owner: &str, held: &Claims, context: &WriteContext<'_>, claims: bool) -> Result<(), Status> {
    let asked = service.list_at(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("").to_owned();
    let address = if asked.is_empty() {
        context.allocators.pick_address(owner, !claims).map_err(|e| address_fault(service, &asked, &e.to_string()))?
    } else {
        let address: IpAddr = asked.parse().map_err(|_| address_fault(service, &asked, "not an IP address"))?;
        if !held.addresses.contains(&address) {
            context.allocators.claim_address(owner, address, !claims).map_err(|e| {
                let why = match e {
                    // Upstream asks one range in a dry run, and looks for a range that holds the address otherwise.
                    ClaimError::OutOfRange(_) if context.dry_run => {
                        format!("the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}", context.allocators.network())
                    }
                    ClaimError::OutOfRange(_) => "the provided network does not match the current range".to_owned(),
                    other => other.to_string(),
                };
                address_fault(service, &asked, &format!("failed to allocate IP {asked}: {why}"))
            })?;
        }
        address
    };
    service.set_at(&["spec", "clusterIP"], address.to_string().into());
    service.set_at(&["spec", "clusterIPs"], json!([address.to_string()]));
    Ok(())
}

fn address_fault(service: &Value, asked: &str, why: &str) -> Status {
    let value = if asked.is_empty() { json!(null) } else { json!([asked]) };
    Status::invalid("", "Service", service.name(), vec![Cause::invalid("spec.clusterIPs", &value, why)])
}

fn allocate_node_ports(service: &mut Value, taking: &mut Taking<'_>) -> Result<(), Status> {
    let wants_all = !is_type(service, "LoadBalancer") || service.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
    // One number serves the protocols of one port: DNS has TCP and UDP behind the same node port.
    let mut by_port: HashMap<i64, i64> = HashMap::new();
    for i in 0..ports(service).len() {
        let (port, asked) = (ports(service)[i].i64_at(&["port"]).unwrap_or(0), node_port(&ports(service)[i]));
        if asked == 0 && !wants_all {
            continue;
        }
        let number = match by_port.get(&port) {
            Some(number) if asked == 0 || asked == *number => *number,
            None if asked == 0 && taking.old.is_none() => {
                let later = ports(service).iter().filter(|other| other.i64_at(&["port"]) == Some(port)).map(node_port).find(|number| *number != 0);
                taking.node_port(service, i, later.unwrap_or(0))?
            }
            _ => taking.node_port(service, i, asked)?,
        };
        by_port.entry(port).or_insert(number);
        service["spec"]["ports"][i]["nodePort"] = number.into();
    }
    Ok(())
}

/// The ports that one write claims.
struct Taking<'a> {
    owner: String,
    /// What the service had before, of an update.
    old: Option<Vec<u32>>,
    /// What the stored service of that name has, of a creation that will be refused for its name.
    others: Vec<u32>,
    made: HashSet<u32>,
    context: &'a WriteContext<'a>,
    claims: bool,
}

impl Taking<'_> {
    fn node_port(&mut self, service: &Value, at: usize, asked: i64) -> Result<i64, Status> {
        self.claim_or_pick(asked).map_err(|fault| {
            let why = port_fault(fault);
            match asked {
                0 => Status::internal(format!("failed to allocate a nodePort: {why}")),
                _ => {
                    let cause = Cause::invalid(format!("spec.ports[{at}].nodePort"), &asked.into(), &why);
                    Status::invalid("", "Service", service.name(), vec![cause])
                }
            }
        })
    }

    fn claim_or_pick(&mut self, asked: i64) -> Result<i64, ClaimError> {
        let Self { owner, old, others, made, context, claims } = self;
        if asked == 0 {
            return context.allocators.pick_port(owner, !*claims).map(i64::from);
        }
        let port = match u32::try_from(asked) {
            Ok(port) => port,
            Err(_) if context.dry_run => return Ok(asked),
            Err(_) => return Err(ClaimError::OutOfRange("port")),
        };
        match old {
            Some(old) if old.contains(&port) || made.contains(&port) => return Ok(asked),
            None if others.contains(&port) || made.contains(&port) => return Err(ClaimError::Taken("port")),
            _ => {}
        }
        context.allocators.claim_port(owner, port, !*claims)?;
        made.insert(port);
        Ok(asked)
    }
}

fn port_fault(fault: ClaimError) -> String {
    match fault {
        ClaimError::OutOfRange(_) => {
            format!("provided port is not in the valid range. The range of valid ports is {NODE_PORT_FIRST}-{NODE_PORT_LAST}")
        }
        other => other.to_string(),
    }
}

/// What one state of a service holds.
#[derive(Debug, Default)]
pub struct Claims {
    owner: String,
    addresses: Vec<IpAddr>,
    ports: Vec<u32>,
}

pub fn claims_of(service: &Value) -> Claims {
    let as_port = |n: i64| u32::try_from(n).ok().filter(|p| *p != 0);
    let health = service.i64_at(&["spec", "healthCheckNodePort"]).and_then(as_port);
    Claims {
        owner: owner(service),
        addresses: service.list_at(&["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect(),
        ports: ports(service).iter().filter_map(|p| as_port(node_port(p))).chain(health).collect(),
    }
}

impl Claims {
    /// Gives back what the keeper does not hold, too.
    pub fn release_missing(&self, keeper: Option<&Value>, allocators: &Allocators) {
        let kept = keeper.map(claims_of).unwrap_or_default();
        self.addresses.iter().filter(|a| !kept.addresses.contains(a)).for_each(|a| allocators.release_address(&self.owner, *a));
        self.ports.iter().filter(|p| !kept.ports.contains(p)).for_each(|p| allocators.release_port(&self.owner, *p));
    }

    /// Enters the claims of a stored service; one that clashes was stored before this server knew and is left as it is.
    pub fn reclaim(&self, allocators: &Allocators) {
        for address in &self.addresses {
            if let Err(fault) = allocators.claim_address(&self.owner, *address, false) {
                tracing::warn!(service = self.owner, %address, %fault, "address of a stored service");
            }
        }
        for port in &self.ports {
            if let Err(fault) = allocators.claim_port(&self.owner, *port, false) {
                tracing::warn!(service = self.owner, port, %fault, "node port of a stored service");
            }
        }
    }

    /// The same of one that another server stored: it has the numbers.
    pub fn enforce(&self, allocators: &Allocators) {
        allocators.take(&self.owner, &self.addresses, &self.ports);
    }
}

fn owner(service: &Value) -> String {
    format!("{}/{}", service.namespace(), service.name())
}
