//! Claims on cluster-wide numbers: service addresses and node ports.
//!
//! Held in memory and rebuilt from the stored Services when the server starts ([`Allocators::rebuild`]); where other servers write, too,
//! their Services are followed ([`Allocators::observe`]). A claim belongs to a
//! service, `namespace/name`, so claiming again is harmless and nobody gives back what another holds. What is asked for by number
//! usually lies in the lower band; numbers that are picked come from the upper one first, so the two seldom meet.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use ipnet::Ipv4Net;
use rand::Rng;

use super::core::service_claims::Claims;

pub const NODE_PORT_FIRST: u32 = 30_000;
pub const NODE_PORT_LAST: u32 = 32_767;
/// The service whose address is the first of the range.
pub const KUBERNETES_SERVICE: &str = "default/kubernetes";

/// The allocators that strategies may use in `before_commit` and release in `after_commit`.
#[derive(Debug)]
pub struct Allocators {
    network: Ipv4Net,
    addresses: Mutex<Band>,
    ports: Mutex<Band>,
    /// By owner, what [`Allocators::observe`] was told last.
    observed: Mutex<HashMap<String, Claims>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("provided {0} is already allocated")]
    Taken(&'static str),
    #[error("provided {0} is not in the valid range")]
    OutOfRange(&'static str),
    #[error("range is full")]
    Full,
}

/// Numbers from `first` to `last`; those below `dynamic` are left to callers who ask for one.
#[derive(Debug)]
struct Band {
    first: u32,
    last: u32,
    dynamic: u32,
    owners: HashMap<u32, Box<str>>,
}

impl Default for Allocators {
    fn default() -> Self {
        Self::new(Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16))
    }
}

impl Allocators {
    pub fn new(network: Ipv4Net) -> Self {
        let (base, last) = (u32::from(network.network()), u32::from(network.broadcast()));
        let size = last - base;
        let mut addresses = Band::new(base + 1, last.saturating_sub(1), (size / 16).clamp(16, 256));
        addresses.owners.insert(base + 1, KUBERNETES_SERVICE.into());
        let count = NODE_PORT_LAST - NODE_PORT_FIRST + 1;
        let ports = Band::new(NODE_PORT_FIRST, NODE_PORT_LAST, (count / 32).clamp(16, 128));
        Self { network, addresses: Mutex::new(addresses), ports: Mutex::new(ports), observed: Mutex::default() }
    }

    /// The range that addresses are allocated from, where none is asked for.
    pub fn network(&self) -> Ipv4Net {
        self.network
    }

    /// Over the configured range. Only IPv4 is served; another family leaves the usual range and says so.
    pub fn over(range: ipnet::IpNet) -> Self {
        match range {
            ipnet::IpNet::V4(network) => Self::new(network),
            ipnet::IpNet::V6(network) => {
                tracing::warn!(%network, "service addresses are IPv4 only, the usual range is used");
                Self::default()
            }
        }
    }

    /// The address of the `kubernetes` service.
    pub fn first_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.network()) + 1)
    }

    /// Takes over the claims of the stored services. Called once at start, before the first write.
    pub fn rebuild<'a>(&self, services: impl IntoIterator<Item = &'a pintle_api::Object>) {
        for service in services {
            super::core::service_claims::claims_of(service).reclaim(self);
        }
    }

    /// Takes over a change of a stored Service, for servers that hear of others' writes. `None`: it is gone.
    pub fn observe(&self, namespace: &str, name: &str, service: Option<&pintle_api::Object>) {
        let owner = format!("{namespace}/{name}");
        let mut observed = self.observed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = observed.remove(&owner) {
            before.release_missing(service, self);
        }
        if let Some(service) = service {
            let claims = super::core::service_claims::claims_of(service);
            claims.enforce(self);
            observed.insert(owner, claims);
        }
    }

    pub fn claim_address(&self, owner: &str, address: IpAddr, dry_run: bool) -> Result<(), ClaimError> {
        let IpAddr::V4(address) = address else { return Err(ClaimError::OutOfRange("IP")) };
        let mut held = lock(&self.addresses);
        // A dry run is told whether the range has the address, and not who has it, as upstream does.
        if dry_run && held.has(u32::from(address)) { Ok(()) } else { held.claim(owner, u32::from(address), dry_run, "IP") }
    }
    pub fn pick_address(&self, owner: &str, dry_run: bool) -> Result<IpAddr, ClaimError> {
        lock(&self.addresses).pick(owner, dry_run).map(|n| IpAddr::V4(Ipv4Addr::from(n)))
    }
    pub fn release_address(&self, owner: &str, address: IpAddr) {
        if let IpAddr::V4(address) = address {
            lock(&self.addresses).release(owner, u32::from(address));
        }
    }
    /// For what is stored already, whoever else is about to ask for the number: that write will fail.
    pub fn take(&self, owner: &str, addresses: &[IpAddr], ports: &[u32]) {
        for address in addresses {
            if let IpAddr::V4(address) = address {
                lock(&self.addresses).owners.insert(u32::from(*address), owner.into());
            }
        }
        let mut held = lock(&self.ports);
        held.owners.extend(ports.iter().map(|port| (*port, owner.into())));
    }
    pub fn claim_port(&self, owner: &str, port: u32, dry_run: bool) -> Result<(), ClaimError> {
        let mut held = lock(&self.ports);
        // Of ports it is the other way round.
        if dry_run && !held.has(port) { Ok(()) } else { held.claim(owner, port, dry_run, "port") }
    }
    pub fn pick_port(&self, owner: &str, dry_run: bool) -> Result<u32, ClaimError> {
        lock(&self.ports).pick(owner, dry_run)
    }
    pub fn release_port(&self, owner: &str, port: u32) {
        lock(&self.ports).release(owner, port);
    }
}

impl Band {
    fn new(first: u32, last: u32, lower: u32) -> Self {
        Self { first, last, dynamic: (first + lower).min(last), owners: HashMap::new() }
    }
    fn has(&self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }
    fn claim(&mut self, owner: &str, number: u32, dry_run: bool, what: &'static str) -> Result<(), ClaimError> {
        if !self.has(number) {
            return Err(ClaimError::OutOfRange(what));
        }
        match self.owners.get(&number) {
            Some(holder) if **holder != *owner => return Err(ClaimError::Taken(what)),
            Some(_) => {}
            None if dry_run => {}
            None => {
                self.owners.insert(number, owner.into());
            }
        }
        Ok(())
    }
    fn pick(&mut self, owner: &str, dry_run: bool) -> Result<u32, ClaimError> {
        let number = free(&self.owners, self.dynamic, self.last).or_else(|| free(&self.owners, self.first, self.dynamic - 1));
        let number = number.ok_or(ClaimError::Full)?;
        if !dry_run {
            self.owners.insert(number, owner.into());
        }
        Ok(number)
    }
    fn release(&mut self, owner: &str, number: u32) {
        if self.owners.get(&number).is_some_and(|holder| **holder == *owner && (owner != KUBERNETES_SERVICE || number != self.first)) {
            self.owners.remove(&number);
        }
    }
}

/// A free number, searched from a random place on so that a released one is not at once given to another.
fn free<V>(taken: &HashMap<u32, V>, first: u32, last: u32) -> Option<u32>
where
    u32: Hash,
{
    let start = rand::rng().random_range(first..=last);
    (start..=last).chain(first..start).find(|n| !taken.contains_key(n))
}

fn lock(band: &Mutex<Band>) -> std::sync::MutexGuard<'_, Band> {
    band.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_addresses_come_from_the_upper_band_and_are_never_taken_twice() {
        let allocators = Allocators::new("10.0.0.0/26".parse().unwrap());
        let mut picked = std::collections::BTreeSet::new();
        for n in 0..61 {
            let IpAddr::V4(address) = allocators.pick_address(&format!("a/{n}"), false).unwrap() else { panic!("v6") };
            assert!(picked.insert(address));
            if n < 45 {
                assert!(address.octets()[3] >= 17, "{address}");
            }
        }
        assert_eq!(allocators.pick_address("a/x", false), Err(ClaimError::Full));
        assert!(!picked.contains(&allocators.first_address()));
    }

    #[test]
    fn what_other_servers_give_out_and_take_back_is_followed() {
        let allocators = Allocators::default();
        let service = |port: u32| serde_json::json!({"metadata": {"namespace": "a", "name": "x"}, "spec": {"ports": [{"nodePort": port}]}});
        assert_eq!(allocators.claim_port("a/y", 30001, false), Ok(()), "on its way to the store");
        allocators.observe("a", "x", Some(&service(30001)));
        allocators.release_port("a/y", 30001);
        assert_eq!(allocators.claim_port("a/y", 30001, false), Err(ClaimError::Taken("port")));
        allocators.observe("a", "x", Some(&service(30002)));
        assert_eq!(allocators.claim_port("a/y", 30001, false), Ok(()));
        assert_eq!(allocators.claim_port("a/y", 30002, false), Err(ClaimError::Taken("port")));
        allocators.observe("a", "x", None);
        assert_eq!(allocators.claim_port("a/y", 30002, false), Ok(()));
        assert_eq!(allocators.claim_port("a/z", 30001, false), Err(ClaimError::Taken("port")), "another's claim stays");
    }

    #[test]
    fn a_claim_is_its_owners_alone() {
        let allocators = Allocators::default();
        assert_eq!(allocators.claim_port("a/x", 30001, false), Ok(()));
        assert_eq!(allocators.claim_port("a/x", 30001, false), Ok(()));
        assert_eq!(allocators.claim_port("a/y", 30001, false), Err(ClaimError::Taken("port")));
        allocators.release_port("a/y", 30001);
        assert_eq!(allocators.claim_port("a/y", 30001, true), Err(ClaimError::Taken("port")));
        allocators.release_port("a/x", 30001);
        assert_eq!(allocators.claim_port("a/y", 30001, true), Ok(()));
        assert_eq!(allocators.claim_port("a/z", 30001, false), Ok(()), "a dry run holds nothing");
        assert_eq!(allocators.claim_port("a/z", 80, false), Err(ClaimError::OutOfRange("port")));
    }
}
